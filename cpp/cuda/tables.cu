// The tables of full scores: for each query and group, the products with all 256 centroids.
//
// A block takes a group and a query, and a thread a centroid. Terms are added by ascending index,
// as the kernel `table` of the CPU does.
#include "device.hpp"

using namespace waterfill;

// Grid: groups, queries; 256 threads. units: bias, step and w of each query. multiplier: of the
// published score, 0 for other codecs; binary: which groups hold one bit per dimension.
extern "C" __global__ void full_tables(const float* projected, unsigned stride, const float* units,
                                       const unsigned* offsets, const unsigned* widths,
                                       const std::uint8_t* binary, const float* books,
                                       float multiplier, float* tables) {
  const unsigned group = blockIdx.x, query = blockIdx.y, c = threadIdx.x;
  const unsigned offset = offsets[group], width = widths[group];
  const float* q = projected + static_cast<std::size_t>(query) * stride + offset;
  float entry = 0;
  for (unsigned j = 0; j < width; ++j) {
    entry += q[j] * books[static_cast<std::size_t>(offset + j) * kCentroids + c];
  }
  if (multiplier > 0) {  // the published score: see Codec::apply_published_score
    const float w = units[3 * query + 2];
    entry = binary[group] != 0 ? 0.0f : entry * multiplier;
    for (unsigned j = 0; binary[group] != 0 && j < width; ++j) {
      const bool bit = ((c >> (7 - j)) & 1) != 0;
      entry += bit == (q[j] > 0) ? w : -w;
    }
  }
  tables[(static_cast<std::size_t>(query) * gridDim.x + group) * kCentroids + c] = entry;
}
