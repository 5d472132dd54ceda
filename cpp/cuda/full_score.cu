// Full scores of candidates, from whole bytes, as Scoring::full computes them.
//
// A warp computes the exact term of a candidate's list, from float32 products that are added as the
// kernel of row products does. Then a thread takes a candidate: the sums over its bytes have an
// order, and thousands of candidates keep a device busy.
#include "full_score.hpp"

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

// Grid: a thread per candidate. terms: of list_terms, or null without cells. The other arguments
// are those of Codes and ScoreTables.
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
  const std::size_t block = position / kBlock - first_block;
  const Codes codes{high, low, scale, block_bytes, low_bytes};
  const bool with_product = euclidean != 0 && terms != nullptr;
  const ScoreTables all{groups,
                        widths,
                        squared_lengths,
                        squared_cells,
                        scale_values,
                        alpha_of_scale,
                        alpha,
                        euclidean,
                        with_product ? projected_centroids : nullptr,
                        points,
                        p};
  scores[number] = full_score_of(codes, all, block, position % kBlock, lists[block],
                                 tables + query * groups * kCentroids,
                                 terms != nullptr ? terms[number] : 0.0f, units[3 * query + 2]);
}
