// The scan with AVX2. The rules of avx2.cpp apply.
#include <immintrin.h>

#include "kernels.hpp"
#include "scan_x86.hpp"

namespace waterfill {
namespace {

// Bytes are added as 16-bit numbers: `even` sums whole pairs (the even byte plus 256 times the odd
// one), `odd` the odd bytes alone, which are subtracted from `even` at the end. Both may wrap.
class HalfSums {
 public:
  void clear() { even_ = odd_ = _mm256_setzero_si256(); }

  void add(__m256i bytes) {
    even_ = _mm256_add_epi16(even_, bytes);
    odd_ = _mm256_add_epi16(odd_, _mm256_srli_epi16(bytes, 8));
  }

  void store(std::uint16_t* out) const {  // 16 sums in the order of the vectors
    const __m256i low = _mm256_sub_epi16(even_, _mm256_slli_epi16(odd_, 8));
    const __m128i evens =
        _mm_add_epi16(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
    const __m128i odds =
        _mm_add_epi16(_mm256_castsi256_si128(odd_), _mm256_extracti128_si256(odd_, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_unpacklo_epi16(evens, odds));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 8), _mm_unpackhi_epi16(evens, odds));
  }

 private:
  __m256i even_, odd_;
};

// The lower 128 bits look up group g, the upper ones group g + 1.
struct Avx2 {
  using Register = __m256i;
  static constexpr std::size_t kPairs = 1;
  static constexpr std::size_t kPassQueries = 2;

  static Register load(const std::uint8_t* bytes) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes));
  }

  static Register load_pairs(const std::uint8_t* block, const std::uint32_t* pairs) {
    return load(block + pairs[0] * kPairBytes);
  }

  static void store(std::uint8_t* bytes, Register value) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(bytes), value);
  }

  struct Separator {
    Nibbles<Avx2> operator()(__m256i groups) const {
      const __m256i nibble = _mm256_set1_epi8(15);
      return {_mm256_and_si256(groups, nibble),
              _mm256_and_si256(_mm256_srli_epi16(groups, 4), nibble)};
    }
  };

  class Sums {
   public:
    void clear() {
      front_.clear();
      back_.clear();
    }

    void add(__m256i lut0, const Nibbles<Avx2>& first, __m256i lut1, const Nibbles<Avx2>& second) {
      front_.add(_mm256_add_epi8(_mm256_shuffle_epi8(lut0, first.low),
                                 _mm256_shuffle_epi8(lut1, second.low)));
      back_.add(_mm256_add_epi8(_mm256_shuffle_epi8(lut0, first.high),
                                _mm256_shuffle_epi8(lut1, second.high)));
    }

    void store(std::uint16_t* out) const {
      front_.store(out);
      back_.store(out + kBlock / 2);
    }

   private:
    HalfSums front_, back_;
  };
};

}  // namespace

ScanKernel avx2_scan() {
  return scan_by<Avx2>;
}

}  // namespace waterfill
