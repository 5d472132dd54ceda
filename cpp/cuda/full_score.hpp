// The full score of a vector, from its whole bytes, as Scoring::full computes it.
#pragma once

#include "device.hpp"

namespace waterfill {
namespace {

// Blocks of codes in the memory of a device.
struct Codes {
  const std::uint8_t *high, *low, *scale;
  unsigned block_bytes, low_bytes;

  // The byte of a group: the high nibble from the block, the low one from the row of the vector.
  __device__ unsigned byte_of(std::size_t block, unsigned lane, unsigned g) const {
    const unsigned pair = high[block * block_bytes + g * 16 + lane % 16];
    const unsigned rest = low[(block * kBlock + lane) * low_bytes + g / 2];
    const unsigned upper = lane < 16 ? pair & 15 : pair >> 4;
    return upper << 4 | (g % 2 == 0 ? rest & 15 : rest >> 4);
  }
};

// What scores depend on besides codes and queries. alphas: in quarters, of the stored scale and of
// the score. projected_centroids, points, p: with cells and distances, else null.
struct ScoreTables {
  unsigned groups;
  const unsigned* widths;
  const float *squared_lengths, *squared_cells, *scale_values;
  unsigned alpha_of_scale, alpha, euclidean;
  const float *projected_centroids, *points;
  unsigned p;
};

// table: of the query, 256 entries a group. term: of the list.
__device__ float full_score_of(const Codes& codes, const ScoreTables& tables, std::size_t block,
                               unsigned lane, unsigned list, const float* table, float term,
                               float w) {
  const bool with_product = tables.projected_centroids != nullptr;
  const float* centroid =
      with_product ? tables.projected_centroids + static_cast<std::size_t>(list) * tables.p
                   : nullptr;
  const float* points = tables.points;
  float t = 0, lengths = 0, cells = 0, products[4] = {};
  for (unsigned g = 0; g < tables.groups; ++g) {
    const unsigned byte = codes.byte_of(block, lane, g);
    t += table[g * kCentroids + byte];
    lengths += tables.squared_lengths[g * kCentroids + byte];
    cells += tables.squared_cells[g * kCells + byte / kCells];
    if (!with_product) continue;
    const unsigned width = tables.widths[g];
    const float* point = points + byte * (width + 1);
    float sum = 0;
    for (unsigned j = 0; j < width; ++j) sum += centroid[j] * point[j];
    products[g % 4] += sum;
    centroid += width;
    points += kCentroids * (width + 1);
  }
  const float product = (products[0] + products[1]) + (products[2] + products[3]);
  const float rho = tables.scale_values[codes.scale[block * kBlock + lane]] *
                    length_power(cells, tables.alpha_of_scale);
  const float s = rho / length_power(lengths, tables.alpha);
  return full_score(tables.euclidean != 0, term, t, lengths, s, product, w);
}

}  // namespace
}  // namespace waterfill
