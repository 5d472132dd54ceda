// Range search: all vectors of some lists whose full score reaches that of the radius.
//
// A block takes an item of a scan, some 256 blocks of vectors and four queries, and a thread
// a vector. What is found is appended to one list for all queries. Where it has too little room,
// the count says how much it would have needed, and the search of the piece is repeated.
#include "full_score.hpp"
#include "scan_item.hpp"

using namespace waterfill;

// Grid: items, queries of an item. sizes, masks: as of scan_few. least: of each query, as
// ordered_score. keys, numbers: room for `capacity` candidate_keys and the queries that found them;
// count: how many there were, which may be more. The other arguments are those of full_scores;
// projected_centroids may be null.
extern "C" __global__ void range_scores(
    const std::uint8_t* high, const std::uint8_t* low, const std::uint8_t* scale,
    const std::uint8_t* sizes, const std::uint32_t* masks, unsigned block_bytes, unsigned low_bytes,
    unsigned first_block, const unsigned* items, const float* tables, unsigned groups,
    const unsigned* widths, const float* squared_lengths, const float* squared_cells,
    const float* scale_values, unsigned alpha_of_scale, unsigned alpha, const float* units,
    unsigned euclidean, const float* projected_centroids, const float* points, unsigned p,
    const std::uint32_t* least, std::uint64_t* keys, unsigned* numbers, unsigned capacity,
    unsigned* count) {
  const Item item = reinterpret_cast<const Item*>(items)[blockIdx.x];
  const int query = item.queries[blockIdx.y];
  if (query < 0) return;
  const Codes codes{high, low, scale, block_bytes, low_bytes};
  const ScoreTables all{groups,
                        widths,
                        squared_lengths,
                        squared_cells,
                        scale_values,
                        alpha_of_scale,
                        alpha,
                        euclidean,
                        projected_centroids,
                        points,
                        p};
  const float* table = tables + static_cast<std::size_t>(query) * groups * kCentroids;
  for (unsigned i = threadIdx.x; i < item.count * kBlock; i += blockDim.x) {
    const std::size_t block = item.first + i / kBlock - first_block;
    const unsigned lane = i % kBlock;
    if (lane >= sizes[block]) continue;
    if (masks != nullptr && (masks[block] >> lane & 1) == 0) continue;
    const float score = full_score_of(codes, all, block, lane, item.list, table,
                                      item.terms[blockIdx.y], units[3 * query + 2]);
    if (ordered_score(score) < least[query]) continue;
    const unsigned place = atomicAdd(count, 1u);
    if (place >= capacity) continue;
    keys[place] = candidate_key(score, item.first * static_cast<unsigned>(kBlock) + i);
    numbers[place] = static_cast<unsigned>(query);
  }
}
