// The AVX-512 VBMI kernels: a scan by permutations of whole registers; the others are those of
// AVX-512.
#include <immintrin.h>

#include "kernels.hpp"
#include "scan_x86.hpp"

namespace waterfill {
namespace {

// Two entries are added as bytes, then the four bytes of a vector in its 32 bits.
__m512i add_entries(__m512i sums, __m512i lut0, __m512i index0, __m512i lut1, __m512i index1) {
  const __m512i entries =
      _mm512_add_epi8(_mm512_permutexvar_epi8(index0, lut0), _mm512_permutexvar_epi8(index1, lut1));
  return _mm512_dpbusd_epi32(sums, entries, _mm512_set1_epi8(1));
}

struct Permutations : Registers512 {
  // The nibbles of four groups for 16 vectors, the four of a vector side by side. They index the
  // tables of the four groups, which fill one register too: bits 4 and 5 select the table.
  class Separator {
   public:
    Nibbles<Permutations> operator()(__m512i groups) const {
      constexpr int kSelect = 0xea;  // (a & b) | c
      const __m512i nibble = _mm512_set1_epi8(15);
      const __m512i bytes = _mm512_permutexvar_epi8(side_by_side_, groups);
      return {_mm512_ternarylogic_epi32(bytes, nibble, table_, kSelect),
              _mm512_ternarylogic_epi32(_mm512_srli_epi16(bytes, 4), nibble, table_, kSelect)};
    }

   private:
    const __m512i table_ = _mm512_set1_epi32(0x30201000);
    // Byte 4 v + g is byte v of group g.
    const __m512i side_by_side_ = _mm512_add_epi8(
        _mm512_mullo_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                           _mm512_set1_epi32(0x01010101)),
        table_);
  };

  class Sums {
   public:
    void clear() { front_ = back_ = _mm512_setzero_si512(); }

    void add(__m512i lut0, const Nibbles<Permutations>& first, __m512i lut1,
             const Nibbles<Permutations>& second) {
      front_ = add_entries(front_, lut0, first.low, lut1, second.low);
      back_ = add_entries(back_, lut0, first.high, lut1, second.high);
    }

    void store(std::uint16_t* out) const {
      auto* halves = reinterpret_cast<__m256i*>(out);
      _mm256_storeu_si256(halves, _mm512_cvtepi32_epi16(front_));
      _mm256_storeu_si256(halves + 1, _mm512_cvtepi32_epi16(back_));
    }

   private:
    __m512i front_, back_;
  };
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
