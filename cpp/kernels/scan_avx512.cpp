// The scan with AVX-512, without VBMI. The rules of avx2.cpp apply.
#include <immintrin.h>

#include "kernels.hpp"
#include "scan_x86.hpp"

namespace waterfill {
namespace {

// As in scan_avx2.cpp, but four groups, one in each 128-bit lane.
struct HalfSums {
  __m512i even, odd;

  void clear() { even = odd = _mm512_setzero_si512(); }

  void add(__m512i bytes) {
    even = _mm512_add_epi16(even, bytes);
    odd = _mm512_add_epi16(odd, _mm512_srli_epi16(bytes, 8));
  }

  // The sums of even and odd bytes, with lanes 0 and 2, and 1 and 3 added: even, even, odd, odd.
  __m512i halves() const {
    const __m512i low = _mm512_sub_epi16(even, _mm512_slli_epi16(odd, 8));
    return _mm512_add_epi16(_mm512_shuffle_i64x2(low, odd, 0x44),
                            _mm512_shuffle_i64x2(low, odd, 0xee));
  }
};

// The sums of a block in the order of its vectors.
__m512i in_order(const HalfSums& front, const HalfSums& back) {
  const __m512i f = front.halves(), b = back.halves();
  const __m512i all =
      _mm512_add_epi16(_mm512_shuffle_i64x2(f, b, 0x88), _mm512_shuffle_i64x2(f, b, 0xdd));
  // Eight even and eight odd sums of the front, then of the back: interleave even and odd.
  const __m512i order = _mm512_set_epi16(31, 23, 30, 22, 29, 21, 28, 20, 27, 19, 26, 18, 25, 17, 24,
                                         16, 15, 7, 14, 6, 13, 5, 12, 4, 11, 3, 10, 2, 9, 1, 8, 0);
  return _mm512_permutexvar_epi16(order, all);
}

struct Shuffles : Registers512 {
  struct Separator {
    Nibbles<Shuffles> operator()(__m512i groups) const {
      const __m512i nibble = _mm512_set1_epi8(15);
      return {_mm512_and_si512(groups, nibble),
              _mm512_and_si512(_mm512_srli_epi16(groups, 4), nibble)};
    }
  };

  class Sums {
   public:
    void clear() {
      front_.clear();
      back_.clear();
    }

    void add(__m512i lut0, const Nibbles<Shuffles>& first, __m512i lut1,
             const Nibbles<Shuffles>& second) {
      front_.add(_mm512_add_epi8(_mm512_shuffle_epi8(lut0, first.low),
                                 _mm512_shuffle_epi8(lut1, second.low)));
      back_.add(_mm512_add_epi8(_mm512_shuffle_epi8(lut0, first.high),
                                _mm512_shuffle_epi8(lut1, second.high)));
    }

    void store(std::uint16_t* out) const { _mm512_storeu_si512(out, in_order(front_, back_)); }

   private:
    HalfSums front_, back_;
  };
};

}  // namespace

ScanKernel avx512_scan() {
  return scan_by<Shuffles>;
}

}  // namespace waterfill
