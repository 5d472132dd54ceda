// The coarse scan: scores of all vectors of some blocks for up to four queries, from high nibbles.
// Vectors that reach a query's threshold are appended to its candidates.
//
// The tables of four queries lie side by side: a word of shared memory holds the entries of one
// nibble for all four, so that one access looks up four scores. The 16 words of a group lie in 16
// banks, so that the accesses of a warp never wait for each other. A thread takes 8 of the 32
// vectors of a block: four bytes of a group hold their nibbles. The entries of two groups are added
// as bytes, which hold them, and these sums as 16 bits: two registers per vector hold those of four
// queries.
#include "scan_item.hpp"

namespace waterfill {
namespace {

constexpr unsigned kShares = 4, kVectors = 8;  // threads per block of vectors
constexpr unsigned kPairsAtOnce = 256;         // whose tables fit shared memory

// What scores depend on besides the vector and the query.
struct Scores {
  unsigned kind;  // 0: product; 1: distance without cells; 2: distance with cells
  const float* scale_values;

  __device__ float score(float t, std::uint8_t scale, std::uint8_t extra,
                         const CoarseTerms& own) const {
    if (kind == 0) return own.list_term + scale_values[scale] * t;
    if (kind == 1) return coarse_distance(t, scale, extra, own);
    return coarse_distance_in_cell(t, scale, extra, own);
  }
};

// Fills the tables of some pairs: the entries of four queries in each word.
__device__ void load_tables(const Item& item, const std::uint8_t* luts, unsigned lut_bytes,
                            unsigned first_pair, unsigned pairs, std::uint32_t* tables) {
  const unsigned first = first_pair * 2 * kCells;
  for (unsigned i = threadIdx.x; i < pairs * 2 * kCells; i += blockDim.x) {
    std::uint32_t word = 0;
    for (unsigned q = 0; q < kQueries; ++q) {
      if (item.queries[q] < 0) continue;
      const std::size_t lut = static_cast<std::size_t>(item.queries[q]) * lut_bytes;
      word |= static_cast<std::uint32_t>(luts[lut + first + i]) << (8 * q);
    }
    tables[i] = word;
  }
}

// Sums of the queries 0 and 2 (even) and 1 and 3 (odd), 16 bits each.
struct Sums {
  std::uint32_t even[kVectors] = {}, odd[kVectors] = {};

  // words: the nibbles of two groups.
  __device__ void add(const std::uint32_t* tables, std::uint32_t first, std::uint32_t second) {
#pragma unroll
    for (unsigned v = 0; v < kVectors; ++v) {
      const unsigned shift = v < 4 ? 8 * v : 8 * (v - 4) + 4;
      const std::uint32_t entries =
          tables[first >> shift & 15] + tables[kCells + (second >> shift & 15)];
      even[v] += entries & 0x00ff00ffu;
      odd[v] += entries >> 8 & 0x00ff00ffu;
    }
  }
  __device__ std::uint32_t of(unsigned query, unsigned vector) const {
    const std::uint32_t both = query % 2 == 0 ? even[vector] : odd[vector];
    return query < 2 ? both & 0xffffu : both >> 16;
  }
};

}  // namespace
}  // namespace waterfill

using namespace waterfill;

// Grid: items; 128 threads. Shared memory: 128 bytes per pair, of at most 256 pairs.
// high, scale, extra, sizes, masks: of the blocks in memory, the first of which is first_block;
// sizes: vectors of each block; masks, or null: those that the filter lets pass.
// thresholds: a key of each query. keys: room for `capacity` keys of each query; counts: how many
// keys there were, which may be more.
extern "C" __global__ void scan_blocks(
    const std::uint8_t* high, const std::uint8_t* scale, const std::uint8_t* extra,
    const std::uint8_t* sizes, const std::uint32_t* masks, unsigned first_block,
    const unsigned* items, const unsigned* pairs, unsigned pair_count, unsigned block_bytes,
    const std::uint8_t* luts, const float* units, unsigned kind, const float* scale_values,
    const float* side_tables, float gain, float middle, float norm_range, const float* lines,
    const std::uint64_t* thresholds, std::uint64_t* keys, unsigned* counts, unsigned capacity) {
  WATERFILL_DYNAMIC_SHARED(std::uint32_t, tables);
  const Item item = reinterpret_cast<const Item*>(items)[blockIdx.x];
  const auto* side = reinterpret_cast<const SideTable*>(side_tables);
  const Scores scores{kind, scale_values};
  const unsigned share = threadIdx.x % kShares, lut_bytes = pair_count * 2 * kCells;
  const unsigned at_once = blockDim.x / kShares;
  for (unsigned first = 0; first < item.count; first += at_once) {
    const unsigned number = first + threadIdx.x / kShares;
    const bool inside = number < item.count;
    const std::size_t block = item.first + (inside ? number : 0) - first_block;
    Sums sums;
    for (unsigned done = 0; done < pair_count; done += kPairsAtOnce) {
      const unsigned some = pair_count - done < kPairsAtOnce ? pair_count - done : kPairsAtOnce;
      if (first == 0 || pair_count > kPairsAtOnce) {
        __syncthreads();
        load_tables(item, luts, lut_bytes, done, some, tables);
        __syncthreads();
      }
      if (!inside) continue;
      const std::uint8_t* own = high + block * block_bytes + 4 * share;
      for (unsigned i = 0; i < some; ++i) {
        const std::uint8_t* pair = own + pairs[done + i] * kPairBytes;
        sums.add(tables + i * 2 * kCells, *reinterpret_cast<const std::uint32_t*>(pair),
                 *reinterpret_cast<const std::uint32_t*>(pair + kPairBytes / 2));
      }
    }
    if (!inside) continue;
#pragma unroll
    for (unsigned q = 0; q < kQueries; ++q) {
      const int query = item.queries[q];
      if (query < 0) continue;
      const CoarseTerms terms{side,
                              side + 1,
                              side + 2,
                              units[3 * query],
                              units[3 * query + 1],
                              units[3 * query + 2],
                              item.terms[q],
                              gain,
                              middle,
                              norm_range,
                              kind == 2 ? lines[item.list] : 0.0f};
      const std::uint64_t threshold = thresholds[query];
#pragma unroll
      for (unsigned v = 0; v < kVectors; ++v) {
        const unsigned lane = 4 * share + (v < 4 ? v : 12 + v);
        if (lane >= sizes[block]) continue;
        if (masks != nullptr && (masks[block] >> lane & 1) == 0) continue;
        const std::size_t vector = block * kBlock + lane;
        const float t = terms.bias + terms.step * static_cast<float>(sums.of(q, v));
        const float score =
            scores.score(t, scale[vector], kind == 0 ? std::uint8_t{0} : extra[vector], terms);
        if (!(score >= -kLargestFloat)) continue;  // never kept, nor is NaN
        const std::uint64_t key =
            candidate_key(score, (item.first + number) * static_cast<unsigned>(kBlock) + lane);
        if (key < threshold) continue;
        const unsigned place = atomicAdd(counts + query, 1u);
        if (place < capacity) keys[static_cast<std::size_t>(query) * capacity + place] = key;
      }
    }
  }
}
