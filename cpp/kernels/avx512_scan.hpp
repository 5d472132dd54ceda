// Common parts of the AVX-512 scans. Only for their files: everything here has internal linkage.
#pragma once

#include <immintrin.h>

#include "kernels.hpp"

namespace waterfill {
namespace {

// Four groups of a block, one in each 128-bit lane.
inline __m512i load_pairs(const std::uint8_t* block, const std::uint32_t* pairs) {
  const auto* first = reinterpret_cast<const __m256i*>(block + pairs[0] * kPairBytes);
  const auto* second = reinterpret_cast<const __m256i*>(block + pairs[1] * kPairBytes);
  return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256(first)),
                            _mm256_loadu_si256(second), 1);
}

// Prefetches the block kPrefetchBlocks ahead, a share of it with every kPairStep pairs. It fetches
// all lines, including those of skipped pairs: memory is fastest without gaps.
class Prefetcher {
 public:
  Prefetcher(const std::uint8_t* block, std::size_t block_stride, std::size_t pairs)
      : next_(block + kPrefetchBlocks * block_stride) {
    const std::size_t share = block_stride * kPairStep / pairs;
    share_ = share < kMostAhead ? share : kMostAhead;
  }

  void step() {
    for (std::size_t line = 0; line < share_; line += 64) {
      _mm_prefetch(reinterpret_cast<const char*>(next_ + line), _MM_HINT_T0);
    }
    next_ += share_;
  }

 private:
  const std::uint8_t* next_;
  std::size_t share_;
};

// Kernels::scan with Block::sum<queries>, which scans one block.
template <class Block, int kQueries>
void scan_blocks(const std::uint8_t* planes, std::size_t blocks, std::size_t block_stride,
                 const std::uint32_t* pairs, std::size_t count, const std::uint8_t* const* luts,
                 std::uint16_t* sums) {
  for (std::size_t b = 0; b < blocks; ++b) {
    Block::template sum<kQueries>(planes + b * block_stride, block_stride, pairs, count, luts,
                                  sums + b * kBlock, blocks * kBlock);
  }
}

template <class Block>
void scan_by(const std::uint8_t* planes, std::size_t blocks, std::size_t block_stride,
             const std::uint32_t* pairs, std::size_t count, const std::uint8_t* const* luts,
             std::size_t queries, std::uint16_t* sums) {
  switch (queries) {
    case 1:
      return scan_blocks<Block, 1>(planes, blocks, block_stride, pairs, count, luts, sums);
    case 2:
      return scan_blocks<Block, 2>(planes, blocks, block_stride, pairs, count, luts, sums);
    case 3:
      return scan_blocks<Block, 3>(planes, blocks, block_stride, pairs, count, luts, sums);
    default:
      return scan_blocks<Block, 4>(planes, blocks, block_stride, pairs, count, luts, sums);
  }
}

}  // namespace
}  // namespace waterfill
