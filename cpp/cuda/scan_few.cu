// The coarse scan for one or two queries: scores of all vectors of some blocks, from high nibbles.
// Vectors that reach a query's threshold are appended to its candidates.
//
// It has to read memory as fast as there is any. Each of the four threads of a block reads every
// fourth pair of groups, whole, so that together they read whole lines of memory, and adds up the
// lookups of all vectors. Then they exchange their sums.
#include "scan.hpp"

namespace waterfill {
namespace {

// One of two, value by value: sums in an array with a variable index would not be in registers.
__device__ inline Sums chosen(bool first, const Sums& a, const Sums& b) {
  Sums result;
#pragma unroll
  for (unsigned half = 0; half < 2; ++half) {
    result.all[half] = first ? a.all[half] : b.all[half];
    result.odd[half] = first ? a.odd[half] : b.odd[half];
  }
  return result;
}

// The codes of a pair of groups: four words each.
struct alignas(16) Pair {
  std::uint32_t words[2][kShares];
};

// How a thread adds up its part: see Scan::scan.
struct LineAdder {
  static constexpr unsigned kTogether = 3;  // pairs whose codes a thread reads together

  // The sums of all vectors of a block: a word of codes has those of a share.
  struct Partial {
    Sums words[kShares];
  };

  // Adds up the lookups of every fourth pair, from `share` on. own: the block.
  template <unsigned kCount>
  static __device__ void add(const std::uint8_t* own, unsigned share, const unsigned* pairs,
                             unsigned count, const Table* tables, Partial (&sums)[kCount]) {
    for (unsigned first = share; first < count; first += kShares * kTogether) {
      Pair some[kTogether];
#pragma unroll
      for (unsigned j = 0; j < kTogether; ++j) {
        const unsigned i = first + kShares * j;
        if (i < count) some[j] = *reinterpret_cast<const Pair*>(own + pairs[i] * kPairBytes);
      }
#pragma unroll
      for (unsigned j = 0; j < kTogether; ++j) {
        const unsigned i = first + kShares * j;
        if (i >= count) break;
#pragma unroll
        for (unsigned q = 0; q < kCount; ++q) {
          const Table first_table = tables[place_of(i, 0, q)];
          const Table second_table = tables[place_of(i, 1, q)];
#pragma unroll
          for (unsigned w = 0; w < kShares; ++w) {
            sums[q].words[w].add(first_table, Nibbles(some[j].words[0][w]), second_table,
                                 Nibbles(some[j].words[1][w]));
          }
        }
      }
    }
  }

  // What the four threads have added up for a share.
  static __device__ Sums total(const Partial& sums, unsigned share) {
    const bool upper = (share & 2) != 0, odd = (share & 1) != 0;
    const Sums* words = sums.words;
    Sums low = chosen(upper, words[2], words[0]), high = chosen(upper, words[3], words[1]);
    low.add(chosen(upper, words[0], words[2]).of_neighbor(2));
    high.add(chosen(upper, words[1], words[3]).of_neighbor(2));
    Sums own = chosen(odd, high, low);
    own.add(chosen(odd, low, high).of_neighbor(1));
    return own;
  }
};

}  // namespace
}  // namespace waterfill

using namespace waterfill;

// Grid: items of one or two queries; 128 threads. Shared memory: 512 bytes per four pairs, of at
// most 256. high, scale, extra, sizes, masks: of the blocks in memory, the first of which is
// first_block; sizes: vectors of each block; masks, or null: those that the filter lets pass. luts:
// of each query, 16 entries of each group of the pairs, at most 127. thresholds: a key of each
// query. keys: room for `capacity` keys of each query; counts: how many keys there were, which may
// be more.
extern "C" __launch_bounds__(128, 5) __global__
    void scan_few(const std::uint8_t* high, const std::uint8_t* scale, const std::uint8_t* extra,
                  const std::uint8_t* sizes, const std::uint32_t* masks, unsigned first_block,
                  const unsigned* items, const unsigned* pairs, unsigned pair_count,
                  unsigned block_bytes, const std::uint8_t* luts, const float* units, unsigned kind,
                  const float* scale_values, const float* side_tables, float gain, float middle,
                  float norm_range, const float* lines, const std::uint64_t* thresholds,
                  std::uint64_t* keys, unsigned* counts, unsigned capacity) {
  WATERFILL_DYNAMIC_SHARED(Table, tables);
  const Scan scan{{high, scale, extra, sizes, masks, first_block, block_bytes},
                  pairs,
                  pair_count,
                  luts,
                  units,
                  {kind, scale_values},
                  reinterpret_cast<const SideTable*>(side_tables),
                  gain,
                  middle,
                  norm_range,
                  lines,
                  thresholds,
                  keys,
                  counts,
                  capacity};
  const Item& item = reinterpret_cast<const Item*>(items)[blockIdx.x];
  for (unsigned first = 0; first < item.count; first += blockDim.x / kShares) {
    if (item.queries[1] < 0) {
      scan.scan<LineAdder, 1>(item, first, tables);
    } else {
      scan.scan<LineAdder, 2>(item, first, tables);
    }
  }
}
