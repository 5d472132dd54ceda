// The AVX-512 VBMI kernels: a scan by permutations of whole registers; the others are those of
// AVX-512.
#include <immintrin.h>

#include "avx512_scan.hpp"
#include "kernels.hpp"

namespace waterfill {
namespace {

// A register with the nibbles of four groups for 16 vectors, the four of a vector side by side. It
// indexes the tables of the four groups, which fill one register too: bits 4 and 5 select the
// table.
struct Index {
  __m512i low, high;  // of a block's vectors 0 to 15, and 16 to 31

  Index(__m512i groups, __m512i side_by_side, __m512i table) {
    constexpr int kSelect = 0xea;  // (a & b) | c
    const __m512i nibble = _mm512_set1_epi8(15);
    const __m512i bytes = _mm512_permutexvar_epi8(side_by_side, groups);
    low = _mm512_ternarylogic_epi32(bytes, nibble, table, kSelect);
    high = _mm512_ternarylogic_epi32(_mm512_srli_epi16(bytes, 4), nibble, table, kSelect);
  }
};

// Two entries are added as bytes, then the four bytes of a vector in its 32 bits.
__m512i add(__m512i sums, __m512i lut0, __m512i index0, __m512i lut1, __m512i index1) {
  const __m512i entries =
      _mm512_add_epi8(_mm512_permutexvar_epi8(index0, lut0), _mm512_permutexvar_epi8(index1, lut1));
  return _mm512_dpbusd_epi32(sums, entries, _mm512_set1_epi8(1));
}

struct Permutations {
  template <int kQueries>
  static void sum(const std::uint8_t* block, std::size_t block_stride, const std::uint32_t* pairs,
                  std::size_t count, const std::uint8_t* const* luts, std::uint16_t* sums,
                  std::size_t sum_stride) {
    Prefetcher prefetcher(block, block_stride, count);
    const __m512i table = _mm512_set1_epi32(0x30201000);
    const __m512i number = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    // Byte 4 v + g is byte v of group g.
    const __m512i side_by_side =
        _mm512_add_epi8(_mm512_mullo_epi32(number, _mm512_set1_epi32(0x01010101)), table);
    __m512i front[kQueries], back[kQueries];
#pragma GCC unroll 4
    for (int q = 0; q < kQueries; ++q) front[q] = back[q] = _mm512_setzero_si512();
    for (std::size_t i = 0; i < count; i += 4) {
      prefetcher.step();
      const Index first(load_pairs(block, pairs + i), side_by_side, table);
      const Index second(load_pairs(block, pairs + i + 2), side_by_side, table);
      // Unrolled before the sums are allocated to registers: 3 % faster.
#pragma GCC unroll 4
      for (int q = 0; q < kQueries; ++q) {
        const std::uint8_t* lut = luts[q] + i * 2 * kCells;
        const __m512i lut0 = _mm512_loadu_si512(lut), lut1 = _mm512_loadu_si512(lut + 64);
        front[q] = add(front[q], lut0, first.low, lut1, second.low);
        back[q] = add(back[q], lut0, first.high, lut1, second.high);
      }
    }
#pragma GCC unroll 4
    for (int q = 0; q < kQueries; ++q) {
      auto* out = reinterpret_cast<__m256i*>(sums + q * sum_stride);
      _mm256_storeu_si256(out, _mm512_cvtepi32_epi16(front[q]));
      _mm256_storeu_si256(out + 1, _mm512_cvtepi32_epi16(back[q]));
    }
  }
};

}  // namespace

const Kernels& avx512_vbmi_kernels() {
  static const Kernels table_ = [] {
    Kernels table = avx512_kernels();
    table.isa = "avx512_vbmi";
    table.scan = scan_by<Permutations>;
    return table;
  }();
  return table_;
}

}  // namespace waterfill
