// AVX-512 (F, BW, VL): the integer kernels at 64 bytes a step. The others are AVX2's. As there,
// everything but the table has internal linkage and no standard header with inline code is used.
#include <immintrin.h>

#include "kernels.hpp"

namespace waterfill {
namespace {

// As in avx2.cpp, four groups a step: one in each 128-bit lane.
struct Sums {
  __m512i even, odd;

  void clear() { even = odd = _mm512_setzero_si512(); }

  void add(__m512i bytes) {
    even = _mm512_add_epi16(even, bytes);
    odd = _mm512_add_epi16(odd, _mm512_srli_epi16(bytes, 8));
  }

  // Its even and odd bytes' sums, lanes 0 and 2, 1 and 3 added up: even, even, odd, odd.
  __m512i halves() const {
    const __m512i low = _mm512_sub_epi16(even, _mm512_slli_epi16(odd, 8));
    return _mm512_add_epi16(_mm512_shuffle_i64x2(low, odd, 0x44),
                            _mm512_shuffle_i64x2(low, odd, 0xee));
  }
};

// A block's sums in the order of its vectors.
__m512i in_order(const Sums& front, const Sums& back) {
  const __m512i f = front.halves(), b = back.halves();
  const __m512i all =
      _mm512_add_epi16(_mm512_shuffle_i64x2(f, b, 0x88), _mm512_shuffle_i64x2(f, b, 0xdd));
  // Eight even ones of the front, eight odd ones, then the back's: even and odd by turns.
  const __m512i order = _mm512_set_epi16(31, 23, 30, 22, 29, 21, 28, 20, 27, 19, 26, 18, 25, 17, 24,
                                         16, 15, 7, 14, 6, 13, 5, 12, 4, 11, 3, 10, 2, 9, 1, 8, 0);
  return _mm512_permutexvar_epi16(order, all);
}

__m512i load_pairs(const std::uint8_t* block, const std::uint32_t* pairs) {
  const auto* first = reinterpret_cast<const __m256i*>(block + pairs[0] * kPairBytes);
  const auto* second = reinterpret_cast<const __m256i*>(block + pairs[1] * kPairBytes);
  return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256(first)),
                            _mm256_loadu_si256(second), 1);
}

template <int kQueries>
void scan_block(const std::uint8_t* block, std::size_t block_stride, const std::uint32_t* pairs,
                std::size_t count, const std::uint8_t* luts, std::uint16_t* sums,
                std::size_t sum_stride) {
  const std::uint8_t* ahead = block + kPrefetchBlocks * block_stride;
  const __m512i nibble = _mm512_set1_epi8(15);
  Sums front[kQueries], back[kQueries];
  for (int q = 0; q < kQueries; ++q) {
    front[q].clear();
    back[q].clear();
  }
  for (std::size_t i = 0; i < count; i += 4) {
    _mm_prefetch(reinterpret_cast<const char*>(ahead + pairs[i] * kPairBytes), _MM_HINT_T0);
    _mm_prefetch(reinterpret_cast<const char*>(ahead + pairs[i + 2] * kPairBytes), _MM_HINT_T0);
    const __m512i first = load_pairs(block, pairs + i), second = load_pairs(block, pairs + i + 2);
    const __m512i low0 = _mm512_and_si512(first, nibble);
    const __m512i low1 = _mm512_and_si512(second, nibble);
    const __m512i high0 = _mm512_and_si512(_mm512_srli_epi16(first, 4), nibble);
    const __m512i high1 = _mm512_and_si512(_mm512_srli_epi16(second, 4), nibble);
    for (int q = 0; q < kQueries; ++q) {
      const std::uint8_t* lut = luts + (q * count + i) * 2 * kCells;
      const __m512i lut0 = _mm512_loadu_si512(lut), lut1 = _mm512_loadu_si512(lut + 64);
      front[q].add(
          _mm512_add_epi8(_mm512_shuffle_epi8(lut0, low0), _mm512_shuffle_epi8(lut1, low1)));
      back[q].add(
          _mm512_add_epi8(_mm512_shuffle_epi8(lut0, high0), _mm512_shuffle_epi8(lut1, high1)));
    }
  }
  for (int q = 0; q < kQueries; ++q) {
    _mm512_storeu_si512(sums + q * sum_stride, in_order(front[q], back[q]));
  }
}

template <int kQueries>
void scan_blocks(const std::uint8_t* planes, std::size_t blocks, std::size_t block_stride,
                 const std::uint32_t* pairs, std::size_t count, const std::uint8_t* luts,
                 std::uint16_t* sums) {
  for (std::size_t b = 0; b < blocks; ++b) {
    scan_block<kQueries>(planes + b * block_stride, block_stride, pairs, count, luts,
                         sums + b * kBlock, blocks * kBlock);
  }
}

void scan(const std::uint8_t* planes, std::size_t blocks, std::size_t block_stride,
          const std::uint32_t* pairs, std::size_t count, const std::uint8_t* luts,
          std::size_t queries, std::uint16_t* sums) {
  switch (queries) {
    case 1:
      return scan_blocks<1>(planes, blocks, block_stride, pairs, count, luts, sums);
    case 2:
      return scan_blocks<2>(planes, blocks, block_stride, pairs, count, luts, sums);
    case 3:
      return scan_blocks<3>(planes, blocks, block_stride, pairs, count, luts, sums);
    default:
      return scan_blocks<4>(planes, blocks, block_stride, pairs, count, luts, sums);
  }
}

void select(const std::uint16_t* sums, const std::uint8_t* scale, std::size_t blocks,
            const std::uint16_t* limits, std::uint32_t* masks) {
  const __m512i table =
      _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(limits)));
  for (std::size_t b = 0; b < blocks; ++b) {
    const __m512i bytes = _mm512_cvtepu8_epi16(
        _mm256_loadu_si256(reinterpret_cast<const __m256i*>(scale + b * kBlock)));
    const __m512i limit = _mm512_permutexvar_epi16(_mm512_srli_epi16(bytes, 4), table);
    masks[b] = _mm512_cmpge_epu16_mask(_mm512_loadu_si512(sums + b * kBlock), limit);
  }
}

}  // namespace

const Kernels& avx512_kernels() {
  static const Kernels table_ = [] {
    Kernels table = avx2_kernels();
    table.isa = "avx512";
    table.scan = scan;
    table.select = select;
    return table;
  }();
  return table_;
}

}  // namespace waterfill
