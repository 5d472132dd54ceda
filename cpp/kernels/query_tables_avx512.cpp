// A query's tables and its ranking of lists with AVX-512 (F, BW, VL): a table of sixteen values in
// a register, in the order of operations of query_tables_scalar.cpp.
#include <immintrin.h>

#include "kernels.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kWide = 16;

void cells(const float* q, const std::size_t* offsets, std::size_t groups, const float* book,
           float* out) {
  for (std::size_t g = 0; g < groups; ++g) {
    __m512 sum = _mm512_setzero_ps();
    for (std::size_t j = offsets[g]; j < offsets[g + 1]; ++j) {
      const __m512 own = _mm512_loadu_ps(book + j * kCells);
      sum = _mm512_add_ps(sum, _mm512_mul_ps(_mm512_set1_ps(q[j]), own));
    }
    _mm512_storeu_ps(out + g * kCells, sum);
  }
}

// step(a, b) of the first and the second half, until one value is left.
template <class Step, class Step4>
float reduced(__m512 values, Step step, Step4 step4) {
  const __m256 front = _mm512_castps512_ps256(values),
               back = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(values), 1));
  const __m256 eight = step(front, back);
  const __m128 four = step4(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = step4(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(step4(two, _mm_movehdup_ps(two)));
}

void ranges(const float* cells, std::size_t groups, float* least, float* range) {
  for (std::size_t g = 0; g < groups; ++g) {
    const __m512 values = _mm512_loadu_ps(cells + g * kCells);
    const float low = reduced(
        values, [](__m256 a, __m256 b) { return _mm256_min_ps(a, b); },
        [](__m128 a, __m128 b) { return _mm_min_ps(a, b); });
    const float high = reduced(
        values, [](__m256 a, __m256 b) { return _mm256_max_ps(a, b); },
        [](__m128 a, __m128 b) { return _mm_max_ps(a, b); });
    least[g] = low;
    range[g] = high - low;
  }
}

void quantize(const float* cells, const float* least, const std::uint32_t* groups,
              const float* before, std::size_t n, float inverse_step, std::uint8_t* luts) {
  const __m512 inverse = _mm512_set1_ps(inverse_step), most = _mm512_set1_ps(kMaxEntry);
  for (std::size_t i = 0; i < n; ++i) {
    const __m512 above = _mm512_sub_ps(_mm512_loadu_ps(cells + groups[i] * kCells),
                                       _mm512_set1_ps(least[groups[i]]));
    const __m512 steps = _mm512_sub_ps(_mm512_mul_ps(above, inverse), _mm512_set1_ps(before[i]));
    const __m512 kept = _mm512_min_ps(_mm512_max_ps(steps, _mm512_setzero_ps()), most);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(luts + i * kCells),
                     _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(kept)));
  }
}

std::uint32_t rank(const std::int16_t* products, const float* addends, std::size_t n, float unit,
                   float share, float threshold, float* scores) {
  const __m512 units = _mm512_set1_ps(unit), shares = _mm512_set1_ps(share),
               least = _mm512_set1_ps(threshold);
  std::uint32_t mask = 0;
  for (std::size_t i = 0; i < n; i += kWide) {
    const std::size_t left = n - i < kWide ? n - i : kWide;
    const auto some = static_cast<__mmask16>((1u << left) - 1);
    const __m512 values =
        _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(_mm256_maskz_loadu_epi16(some, products + i)));
    const __m512 score =
        _mm512_add_ps(_mm512_mul_ps(values, units),
                      _mm512_mul_ps(shares, _mm512_maskz_loadu_ps(some, addends + i)));
    _mm512_mask_storeu_ps(scores + i, some, score);
    mask |= std::uint32_t{_mm512_mask_cmp_ps_mask(some, score, least, _CMP_GE_OQ)} << i;
  }
  return mask;
}

}  // namespace

QueryKernels avx512_query_kernels() {
  return {.cells = cells, .ranges = ranges, .quantize = quantize, .rank = rank};
}

}  // namespace waterfill
