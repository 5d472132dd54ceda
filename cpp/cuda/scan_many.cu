// The coarse scan for up to four queries, which read a block together: see scan_few.cu.
//
// Arithmetic bounds it, not memory. So a thread takes the same four bytes of all groups, and its
// sums are those of its share: there is nothing to exchange.
#include "scan.hpp"

namespace waterfill {
namespace {

// How a thread adds up its part: see Scan::scan.
struct ShareAdder {
  static constexpr unsigned kTogether = 4;  // pairs whose codes a thread reads together

  using Partial = Sums;

  static __device__ std::uint32_t word(const std::uint8_t* bytes) {
    return *reinterpret_cast<const std::uint32_t*>(bytes);
  }

  // own: the block.
  template <unsigned kCount>
  static __device__ void add(const std::uint8_t* own, unsigned share, const unsigned* pairs,
                             unsigned count, const Table* tables, Sums (&sums)[kCount]) {
    own += 4 * share;
    for (unsigned first = 0; first < count; first += kTogether) {
      std::uint32_t words[kTogether][2];
#pragma unroll
      for (unsigned j = 0; j < kTogether; ++j) {
        if (first + j >= count) break;
        const std::uint8_t* pair = own + pairs[first + j] * kPairBytes;
        words[j][0] = word(pair);
        words[j][1] = word(pair + kPairBytes / 2);
      }
#pragma unroll
      for (unsigned j = 0; j < kTogether; ++j) {
        const unsigned i = first + j;
        if (i >= count) break;
        const Nibbles first_codes(words[j][0]), second_codes(words[j][1]);
#pragma unroll
        for (unsigned q = 0; q < kCount; ++q) {
          sums[q].add(tables[place_of(i, 0, q)], first_codes, tables[place_of(i, 1, q)],
                      second_codes);
        }
      }
    }
  }

  static __device__ Sums total(const Sums& sums, unsigned) { return sums; }
};

}  // namespace
}  // namespace waterfill

using namespace waterfill;

// Grid: items; 128 threads. The arguments are those of scan_few.
extern "C" __launch_bounds__(128, 6) __global__
    void scan_many(const std::uint8_t* high, const std::uint8_t* scale, const std::uint8_t* extra,
                   const std::uint8_t* sizes, const std::uint32_t* masks, unsigned first_block,
                   const unsigned* items, const unsigned* pairs, unsigned pair_count,
                   unsigned block_bytes, const std::uint8_t* luts, const float* units,
                   unsigned kind, const float* scale_values, const float* side_tables, float gain,
                   float middle, float norm_range, const float* lines,
                   const std::uint64_t* thresholds, std::uint64_t* keys, unsigned* counts,
                   unsigned capacity) {
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
      scan.scan<ShareAdder, 1>(item, first, tables);
    } else if (item.queries[2] < 0) {
      scan.scan<ShareAdder, 2>(item, first, tables);
    } else if (item.queries[3] < 0) {
      scan.scan<ShareAdder, 3>(item, first, tables);
    } else {
      scan.scan<ShareAdder, 4>(item, first, tables);
    }
  }
}
