// Coarse scores of an L2 index with cells, with AVX-512 (F, BW, VL): sixteen vectors at a time, in
// the order of operations of offset_scores_scalar.cpp.
#include <immintrin.h>

#include "kernels.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kWide = 16;

__m512i load_bytes(const std::uint8_t* bytes) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)));
}

std::uint32_t offset_scores(const std::uint16_t* sums, const std::uint8_t* scale,
                            const std::uint8_t* extra, const OffsetTerms& terms, float threshold,
                            float* scores) {
  std::uint32_t reached = 0;
  for (std::size_t v = 0; v < kBlock; v += kWide) {
    const __m512 z = _mm512_i32gather_ps(load_bytes(scale + v), terms.scales, sizeof(float));
    const __m512i sum =
        _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(sums + v)));
    const __m512 t =
        _mm512_add_ps(_mm512_set1_ps(terms.bias),
                      _mm512_mul_ps(_mm512_set1_ps(terms.step), _mm512_cvtepi32_ps(sum)));
    const __m512 e = _mm512_div_ps(
        _mm512_sub_ps(_mm512_cvtepi32_ps(load_bytes(extra + v)), _mm512_set1_ps(kOffsetMiddle)),
        _mm512_set1_ps(kOffsetRange));
    const __m512 spread = _mm512_add_ps(_mm512_mul_ps(z, _mm512_set1_ps(terms.norm_range)),
                                        _mm512_set1_ps(terms.line));
    const __m512 offset = _mm512_mul_ps(
        _mm512_mul_ps(_mm512_set1_ps(terms.w), z),
        _mm512_add_ps(_mm512_mul_ps(z, _mm512_set1_ps(terms.middle)), _mm512_mul_ps(e, spread)));
    const __m512 product = _mm512_mul_ps(_mm512_mul_ps(z, _mm512_set1_ps(terms.gain)), t);
    const __m512 score =
        _mm512_sub_ps(_mm512_add_ps(_mm512_set1_ps(terms.list_term), product), offset);
    _mm512_storeu_ps(scores + v, score);
    const std::uint32_t mask = _mm512_cmp_ps_mask(score, _mm512_set1_ps(threshold), _CMP_GE_OQ);
    reached |= mask << v;
  }
  return reached;
}

}  // namespace

OffsetKernel avx512_offset_scores() {
  return offset_scores;
}

}  // namespace waterfill
