// A query's tables and its ranking of lists with AVX2: a table of sixteen values in two registers,
// in the order of operations of query_tables_scalar.cpp.
#include <immintrin.h>

#include "kernels.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kWide = 8;

void cells(const float* q, const std::size_t* offsets, std::size_t groups, const float* book,
           float* out) {
  for (std::size_t g = 0; g < groups; ++g, out += kCells) {
    __m256 front = _mm256_setzero_ps(), back = front;
    for (std::size_t j = offsets[g]; j < offsets[g + 1]; ++j) {
      const __m256 value = _mm256_broadcast_ss(q + j);
      const float* own = book + j * kCells;
      front = _mm256_add_ps(front, _mm256_mul_ps(value, _mm256_loadu_ps(own)));
      back = _mm256_add_ps(back, _mm256_mul_ps(value, _mm256_loadu_ps(own + kWide)));
    }
    _mm256_storeu_ps(out, front);
    _mm256_storeu_ps(out + kWide, back);
  }
}

// step(a, b) of the first and the second half, until one value is left.
template <class Step, class Step4>
float reduced(__m256 front, __m256 back, Step step, Step4 step4) {
  const __m256 eight = step(front, back);
  const __m128 four = step4(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = step4(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(step4(two, _mm_movehdup_ps(two)));
}

void ranges(const float* cells, std::size_t groups, float* least, float* range) {
  for (std::size_t g = 0; g < groups; ++g) {
    const __m256 front = _mm256_loadu_ps(cells + g * kCells),
                 back = _mm256_loadu_ps(cells + g * kCells + kWide);
    const float low = reduced(
        front, back, [](__m256 a, __m256 b) { return _mm256_min_ps(a, b); },
        [](__m128 a, __m128 b) { return _mm_min_ps(a, b); });
    const float high = reduced(
        front, back, [](__m256 a, __m256 b) { return _mm256_max_ps(a, b); },
        [](__m128 a, __m128 b) { return _mm_max_ps(a, b); });
    least[g] = low;
    range[g] = high - low;
  }
}

__m256i entries(const float* cells, __m256 least, __m256 inverse_step, __m256 before) {
  const __m256 above = _mm256_sub_ps(_mm256_loadu_ps(cells), least);
  const __m256 steps = _mm256_sub_ps(_mm256_mul_ps(above, inverse_step), before);
  const __m256 positive = _mm256_max_ps(steps, _mm256_setzero_ps());
  return _mm256_cvttps_epi32(_mm256_min_ps(positive, _mm256_set1_ps(kMaxEntry)));
}

void quantize(const float* cells, const float* least, const std::uint32_t* groups,
              const float* before, std::size_t n, float inverse_step, std::uint8_t* luts) {
  const __m256 inverse = _mm256_set1_ps(inverse_step);
  for (std::size_t i = 0; i < n; ++i) {
    const float* own = cells + groups[i] * kCells;
    const __m256 low = _mm256_broadcast_ss(least + groups[i]);
    const __m256 offset = _mm256_broadcast_ss(before + i);
    const __m256i front = entries(own, low, inverse, offset),
                  back = entries(own + kWide, low, inverse, offset);
    // 0 to 3, 8 to 11, 4 to 7, 12 to 15
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(front, back), 0xd8);
    const __m128i bytes =
        _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(luts + i * kCells), bytes);
  }
}

std::uint32_t rank(const std::int16_t* products, const float* addends, std::size_t n, float unit,
                   float share, float threshold, float* scores) {
  const __m256 units = _mm256_set1_ps(unit), shares = _mm256_set1_ps(share),
               least = _mm256_set1_ps(threshold);
  std::uint32_t mask = 0;
  std::size_t i = 0;
  for (; i + kWide <= n; i += kWide) {
    const __m128i eight = _mm_loadu_si128(reinterpret_cast<const __m128i*>(products + i));
    const __m256 values = _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(eight));
    const __m256 score = _mm256_add_ps(_mm256_mul_ps(values, units),
                                       _mm256_mul_ps(shares, _mm256_loadu_ps(addends + i)));
    _mm256_storeu_ps(scores + i, score);
    const int reached = _mm256_movemask_ps(_mm256_cmp_ps(score, least, _CMP_GE_OQ));
    mask |= static_cast<std::uint32_t>(reached) << i;
  }
  for (; i < n; ++i) {
    scores[i] = static_cast<float>(products[i]) * unit + share * addends[i];
    mask |= (scores[i] >= threshold ? 1u : 0u) << i;
  }
  return mask;
}

}  // namespace

QueryKernels avx2_query_kernels() {
  return {.cells = cells, .ranges = ranges, .quantize = quantize, .rank = rank};
}

}  // namespace waterfill
