// Products of a graph's rows with AVX-512 VNNI: a front line is one register.
#include <immintrin.h>

#include "kernels.hpp"

namespace waterfill {
namespace {

constexpr int kNibbleBits = 4;
constexpr std::size_t kStep = 4;  // rows whose lanes are added together

__m512i load(const void* data) {
  return _mm512_loadu_si512(data);
}

__m512i line_products(const std::uint8_t* line, __m512i low, __m512i high) {
  const __m512i nibble = _mm512_set1_epi8(15), bytes = load(line);
  const __m512i upper = _mm512_and_si512(_mm512_srli_epi16(bytes, kNibbleBits), nibble);
  const __m512i sum =
      _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_and_si512(bytes, nibble), low);
  return _mm512_dpbusd_epi32(sum, upper, high);
}

__m256i half_of(__m512i lanes) {
  return _mm256_add_epi32(_mm512_castsi512_si256(lanes), _mm512_extracti64x4_epi64(lanes, 1));
}

std::int32_t sum_of(__m512i lanes) {
  const __m256i eight = half_of(lanes);
  __m128i four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  four = _mm_add_epi32(four, _mm_shuffle_epi32(four, _MM_SHUFFLE(1, 0, 3, 2)));
  four = _mm_add_epi32(four, _mm_shuffle_epi32(four, _MM_SHUFFLE(2, 3, 0, 1)));
  return _mm_cvtsi128_si32(four);
}

// The sums of the lanes of four registers.
__m128i sums_of(const __m512i* lanes) {
  const __m256i first = _mm256_hadd_epi32(half_of(lanes[0]), half_of(lanes[1]));
  const __m256i second = _mm256_hadd_epi32(half_of(lanes[2]), half_of(lanes[3]));
  const __m256i all = _mm256_hadd_epi32(first, second);
  return _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
}

void front(const std::uint8_t* lines, const std::uint32_t* rows, std::size_t n,
           const std::int8_t* weights, std::int32_t* sums) {
  const __m512i low = load(weights), high = load(weights + kGraphLine);
  std::size_t i = 0;
  for (; i + kStep <= n; i += kStep) {
    __m512i lanes[kStep];
    for (std::size_t r = 0; r < kStep; ++r) {
      lanes[r] = line_products(lines + std::size_t{rows[i + r]} * kGraphLine, low, high);
    }
    _mm_storeu_si128(reinterpret_cast<__m128i*>(sums + i), sums_of(lanes));
  }
  for (; i < n; ++i) {
    sums[i] = sum_of(line_products(lines + std::size_t{rows[i]} * kGraphLine, low, high));
  }
}

// Sums of the products with both digits of the weights.
struct Sums {
  __m512i high = _mm512_setzero_si512(), low = high;

  void add(__m512i bytes, const std::int8_t* high_weights, const std::int8_t* low_weights) {
    high = _mm512_dpbusd_epi32(high, bytes, load(high_weights));
    low = _mm512_dpbusd_epi32(low, bytes, load(low_weights));
  }
};

std::int32_t full(const std::uint8_t* line, const std::uint8_t* rest, std::size_t tail,
                  const std::int8_t* high, const std::int8_t* low) {
  constexpr __mmask64 kValues = ~__mmask64{0} << kGraphHead;
  const __m512i nibble = _mm512_set1_epi8(15), upper = _mm512_set1_epi8(static_cast<char>(0xf0));
  const __m512i front = load(line);
  const __m512i back = _mm512_maskz_loadu_epi8(kValues, rest - kGraphHead);
  const __m512i shifted = _mm512_and_si512(_mm512_slli_epi16(front, kNibbleBits), upper);
  const __m512i lower = _mm512_and_si512(_mm512_srli_epi16(back, kNibbleBits), nibble);
  Sums sums;
  sums.add(_mm512_or_si512(shifted, _mm512_and_si512(back, nibble)), high, low);
  sums.add(_mm512_or_si512(_mm512_and_si512(front, upper), lower), high + kGraphLine,
           low + kGraphLine);
  for (std::size_t k = 0; k < tail; k += kGraphLine) {
    const std::size_t left = tail - k, at = 2 * kGraphLine + k;
    const __mmask64 mask = left < kGraphLine ? (__mmask64{1} << left) - 1 : ~__mmask64{0};
    sums.add(_mm512_maskz_loadu_epi8(mask, rest + kGraphHalf + k), high + at, low + at);
  }
  constexpr int kDigitBits = 6;
  return sum_of(_mm512_add_epi32(_mm512_slli_epi32(sums.high, kDigitBits), sums.low));
}

}  // namespace

GraphKernels avx512_graph_kernels() {
  return {.front = front, .full = full};
}

}  // namespace waterfill
