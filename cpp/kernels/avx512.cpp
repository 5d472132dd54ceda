// AVX-512 (F, BW, VL): the integer kernels at 64 bytes a step. The others are AVX2's. As there,
// everything but the table has internal linkage and no standard header with inline code is used.
#include <immintrin.h>

#include "kernels.hpp"

namespace waterfill {
namespace {

// As in avx2.cpp, four groups a step: one in each 128-bit lane.
struct Sums {
  __m512i even, odd;

  void add(__m512i bytes) {
    even = _mm512_add_epi16(even, bytes);
    odd = _mm512_add_epi16(odd, _mm512_srli_epi16(bytes, 8));
  }

  static __m128i over_lanes(__m512i sums) {
    const __m256i half =
        _mm256_add_epi16(_mm512_castsi512_si256(sums), _mm512_extracti64x4_epi64(sums, 1));
    return _mm_add_epi16(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
  }

  void store(std::uint16_t* out) const {  // 16 sums in the order of the vectors
    const __m128i evens = over_lanes(_mm512_sub_epi16(even, _mm512_slli_epi16(odd, 8)));
    const __m128i odds = over_lanes(odd);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_unpacklo_epi16(evens, odds));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 8), _mm_unpackhi_epi16(evens, odds));
  }
};

__m512i load_pairs(const std::uint8_t* block, const std::uint32_t* pairs) {
  const auto* first = reinterpret_cast<const __m256i*>(block + pairs[0] * kPairBytes);
  const auto* second = reinterpret_cast<const __m256i*>(block + pairs[1] * kPairBytes);
  return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256(first)),
                            _mm256_loadu_si256(second), 1);
}

template <int kQueries>
void scan_block(const std::uint8_t* block, const std::uint32_t* pairs, std::size_t count,
                const std::uint8_t* luts, std::uint16_t* sums, std::size_t sum_stride) {
  const __m512i nibble = _mm512_set1_epi8(15);
  Sums front[kQueries], back[kQueries];
  for (int q = 0; q < kQueries; ++q) {
    front[q].even = front[q].odd = back[q].even = back[q].odd = _mm512_setzero_si512();
  }
  for (std::size_t i = 0; i < count; i += 4) {
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
    front[q].store(sums + q * sum_stride);
    back[q].store(sums + q * sum_stride + 16);
  }
}

template <int kQueries>
void scan_blocks(const std::uint8_t* planes, std::size_t blocks, std::size_t block_stride,
                 const std::uint32_t* pairs, std::size_t count, const std::uint8_t* luts,
                 std::uint16_t* sums) {
  for (std::size_t b = 0; b < blocks; ++b) {
    scan_block<kQueries>(planes + b * block_stride, pairs, count, luts, sums + b * kBlock,
                         blocks * kBlock);
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
  const __m512i table = _mm512_broadcast_i64x4(
      _mm256_loadu_si256(reinterpret_cast<const __m256i*>(limits)));
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
