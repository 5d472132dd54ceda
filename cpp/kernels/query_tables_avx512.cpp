// A query's tables and its ranking of lists with AVX-512 (F, BW, VL): a table of sixteen values in
// a register, in the order of operations of query_tables_scalar.cpp. `ranges` is that of AVX2.
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
  QueryKernels kernels = avx2_query_kernels();
  kernels.cells = cells;
  kernels.quantize = quantize;
  kernels.rank = rank;
  return kernels;
}

}  // namespace waterfill
