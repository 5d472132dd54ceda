// Coarse scores of an L2 index with cells, with AVX2: eight vectors at a time, in the order of
// operations of offset_scores_scalar.cpp.
#include <immintrin.h>

#include "kernels.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kWide = 8;

__m256i load_bytes(const std::uint8_t* bytes) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes)));
}

std::uint32_t offset_scores(const std::uint16_t* sums, const std::uint8_t* scale,
                            const std::uint8_t* extra, const OffsetTerms& terms, float threshold,
                            float* scores) {
  std::uint32_t reached = 0;
  for (std::size_t v = 0; v < kBlock; v += kWide) {
    const __m256 z = _mm256_i32gather_ps(terms.scales, load_bytes(scale + v), sizeof(float));
    const __m256i sum =
        _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(sums + v)));
    const __m256 t =
        _mm256_add_ps(_mm256_set1_ps(terms.bias),
                      _mm256_mul_ps(_mm256_set1_ps(terms.step), _mm256_cvtepi32_ps(sum)));
    const __m256 e = _mm256_div_ps(
        _mm256_sub_ps(_mm256_cvtepi32_ps(load_bytes(extra + v)), _mm256_set1_ps(kOffsetMiddle)),
        _mm256_set1_ps(kOffsetRange));
    const __m256 spread = _mm256_add_ps(_mm256_mul_ps(z, _mm256_set1_ps(terms.norm_range)),
                                        _mm256_set1_ps(terms.line));
    const __m256 offset = _mm256_mul_ps(
        _mm256_mul_ps(_mm256_set1_ps(terms.w), z),
        _mm256_add_ps(_mm256_mul_ps(z, _mm256_set1_ps(terms.middle)), _mm256_mul_ps(e, spread)));
    const __m256 product = _mm256_mul_ps(_mm256_mul_ps(z, _mm256_set1_ps(terms.gain)), t);
    const __m256 score =
        _mm256_sub_ps(_mm256_add_ps(_mm256_set1_ps(terms.list_term), product), offset);
    _mm256_storeu_ps(scores + v, score);
    const int mask =
        _mm256_movemask_ps(_mm256_cmp_ps(score, _mm256_set1_ps(threshold), _CMP_GE_OQ));
    reached |= static_cast<std::uint32_t>(mask) << v;
  }
  return reached;
}

}  // namespace

OffsetKernel avx2_offset_scores() {
  return offset_scores;
}

}  // namespace waterfill
