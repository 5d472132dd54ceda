// Full scores of candidates, from whole bytes, as Scoring::full computes them.
//
// A warp computes the exact term of a candidate's list, from float32 products that are added as the
// kernel of row products does. Then a thread takes a candidate: the sums over its bytes have an
// order, and thousands of candidates keep a device busy.
#include "device.hpp"

namespace waterfill {
namespace {

// The byte of a group: the high nibble from the block, the low one from the row of the vector.
__device__ unsigned byte_of(const std::uint8_t* block, const std::uint8_t* row, unsigned lane,
                            unsigned g) {
  const unsigned pair = block[g * 16 + lane % 16], low = row[g / 2];
  const unsigned high = lane < 16 ? pair & 15 : pair >> 4;
  return high << 4 | (g % 2 == 0 ? low & 15 : low >> 4);
}

}  // namespace
}  // namespace waterfill

using namespace waterfill;

// Grid: a warp per candidate. keys: `room` of each query, of which counts are set. scaled: queries
// of d values. lists: of the blocks in memory. centroids: minus the mean; lengths: their norms.
extern "C" __global__ void list_terms(const std::uint64_t* keys, unsigned queries, unsigned room,
                                      const unsigned* counts, const unsigned* lists,
                                      unsigned first_block, const float* scaled, unsigned d,
                                      const float* centroids, const float* lengths,
                                      const float* units, unsigned euclidean, float* terms) {
  const std::size_t number = thread_of_grid() / kWarp, query = number / room;
  const unsigned lane = threadIdx.x % kWarp;
  if (query >= queries || number % room >= counts[query]) return;  // the whole warp
  const std::uint32_t position = ~static_cast<std::uint32_t>(keys[number]);
  const unsigned list = lists[position / kBlock - first_block];
  const float *q = scaled + query * d, *centroid = centroids + static_cast<std::size_t>(list) * d;
  float sum = 0;
  for (unsigned k = lane; k < d; k += kWarp) sum += q[k] * centroid[k];
  for (unsigned half = kWarp / 2; half > 0; half /= 2) {
    sum += __shfl_down_sync(kAllLanes, sum, half);
  }
  const float w = units[3 * query + 2], length = lengths[list];
  if (lane == 0) terms[number] = euclidean != 0 ? 2 * sum - w * length * length : sum;
}

// Grid: a thread per candidate. terms: of list_terms, or null without cells. alphas: in quarters,
// of the stored scale and of the score. projected_centroids, points, p: with cells and distances.
extern "C" __global__ void full_scores(
    const std::uint64_t* keys, unsigned queries, unsigned room, const unsigned* counts,
    const std::uint8_t* high, const std::uint8_t* low, const std::uint8_t* scale,
    unsigned block_bytes, unsigned low_bytes, unsigned first_block, const unsigned* lists,
    const float* tables, unsigned groups, const unsigned* widths, const float* squared_lengths,
    const float* squared_cells, const float* scale_values, unsigned alpha_of_scale, unsigned alpha,
    const float* terms, const float* units, unsigned euclidean, const float* projected_centroids,
    const float* points, unsigned p, float* scores) {
  const std::size_t number = thread_of_grid(), query = number / room;
  if (query >= queries || number % room >= counts[query]) return;
  const std::uint32_t position = ~static_cast<std::uint32_t>(keys[number]);
  const std::size_t block = position / kBlock - first_block, lane = position % kBlock;
  const std::uint8_t* own = high + block * block_bytes;
  const std::uint8_t* row = low + (block * kBlock + lane) * low_bytes;
  const float* table = tables + query * groups * kCentroids;
  const bool with_product = euclidean != 0 && terms != nullptr;
  const float* centroid =
      with_product ? projected_centroids + static_cast<std::size_t>(lists[block]) * p : nullptr;
  float t = 0, lengths = 0, cells = 0, products[4] = {};
  for (unsigned g = 0; g < groups; ++g) {
    const unsigned byte = byte_of(own, row, static_cast<unsigned>(lane), g);
    t += table[g * kCentroids + byte];
    lengths += squared_lengths[g * kCentroids + byte];
    cells += squared_cells[g * kCells + byte / kCells];
    if (!with_product) continue;
    const float* point = points + byte * widths[g];
    float sum = 0;
    for (unsigned j = 0; j < widths[g]; ++j) sum += centroid[j] * point[j];
    products[g % 4] += sum;
    centroid += widths[g];
    points += kCentroids * widths[g];
  }
  const float product = (products[0] + products[1]) + (products[2] + products[3]);
  const float rho =
      scale_values[scale[block * kBlock + lane]] * length_power(cells, alpha_of_scale);
  const float s = rho / length_power(lengths, alpha);
  scores[number] = full_score(euclidean != 0, terms != nullptr ? terms[number] : 0.0f, t, lengths,
                              s, product, units[3 * query + 2]);
}
