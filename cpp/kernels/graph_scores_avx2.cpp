// Products of a graph's rows with AVX2. Weights of -64 to 64 keep the sums of two products within
// 16 bits; nibbles do for weights of any size.
#include <immintrin.h>

#include "kernels.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kWide = 32;
constexpr int kNibbleBits = 4;

__m256i load(const void* data) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(data));
}

__m256i multiply_add(__m256i sum, __m256i bytes, const std::int8_t* weights) {
  const __m256i pairs = _mm256_maddubs_epi16(bytes, load(weights));
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

std::int32_t sum_of(__m256i lanes) {
  __m128i four = _mm_add_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1));
  four = _mm_add_epi32(four, _mm_shuffle_epi32(four, _MM_SHUFFLE(1, 0, 3, 2)));
  four = _mm_add_epi32(four, _mm_shuffle_epi32(four, _MM_SHUFFLE(2, 3, 0, 1)));
  return _mm_cvtsi128_si32(four);
}

void front(const std::uint8_t* lines, const std::uint32_t* rows, std::size_t n,
           const std::int8_t* weights, std::int32_t* sums) {
  const __m256i nibble = _mm256_set1_epi8(15);
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint8_t* line = lines + std::size_t{rows[i]} * kGraphLine;
    __m256i sum = _mm256_setzero_si256();
    for (std::size_t k = 0; k < kGraphLine; k += kWide) {
      const __m256i bytes = load(line + k);
      const __m256i high = _mm256_and_si256(_mm256_srli_epi16(bytes, kNibbleBits), nibble);
      sum = multiply_add(sum, _mm256_and_si256(bytes, nibble), weights + k);
      sum = multiply_add(sum, high, weights + kGraphLine + k);
    }
    sums[i] = sum_of(sum);
  }
}

// Sums of the products with both digits of the weights.
struct Sums {
  __m256i high = _mm256_setzero_si256(), low = high;

  void add(__m256i bytes, const std::int8_t* high_weights, const std::int8_t* low_weights) {
    high = multiply_add(high, bytes, high_weights);
    low = multiply_add(low, bytes, low_weights);
  }
};

std::int32_t full(const std::uint8_t* line, const std::uint8_t* rest, std::size_t tail,
                  const std::int8_t* high, const std::int8_t* low) {
  const __m256i nibble = _mm256_set1_epi8(15), upper = _mm256_set1_epi8(static_cast<char>(0xf0));
  Sums sums;
  for (std::size_t k = 0; k < kGraphLine; k += kWide) {
    const __m256i front = load(line + k), back = load(rest + k - kGraphHead);
    const __m256i first =
        _mm256_or_si256(_mm256_and_si256(_mm256_slli_epi16(front, kNibbleBits), upper),
                        _mm256_and_si256(back, nibble));
    const __m256i second =
        _mm256_or_si256(_mm256_and_si256(front, upper),
                        _mm256_and_si256(_mm256_srli_epi16(back, kNibbleBits), nibble));
    sums.add(first, high + k, low + k);
    sums.add(second, high + kGraphLine + k, low + kGraphLine + k);
  }
  for (std::size_t k = 0; k < tail; k += kWide) {  // behind the tail, weights are zero
    const std::size_t at = 2 * kGraphLine + k;
    sums.add(load(rest + kGraphHalf + k), high + at, low + at);
  }
  constexpr int kDigitBits = 6;
  return sum_of(_mm256_add_epi32(_mm256_slli_epi32(sums.high, kDigitBits), sums.low));
}

}  // namespace

GraphKernels avx2_graph_kernels() {
  return {.front = front, .full = full};
}

}  // namespace waterfill
