// Coarse scores of L2 indexes with AVX-512 (F, BW, VL): sixteen vectors at a time, in the order of
// operations of coarse_scores_scalar.cpp.
#include <immintrin.h>

#include "kernels.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kWide = 16;

__m512i load_bytes(const std::uint8_t* bytes) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)));
}

struct Table {
  __m512 high, low, zero;

  explicit Table(const SideTable& table)
      : high(_mm512_loadu_ps(table.high)),
        low(_mm512_loadu_ps(table.low)),
        zero(_mm512_set1_ps(table.zero)) {}

  __m512 operator[](__m512i bytes) const {  // a permutation reads the low four bits
    const __m512 product = _mm512_mul_ps(_mm512_permutexvar_ps(_mm512_srli_epi32(bytes, 4), high),
                                         _mm512_permutexvar_ps(bytes, low));
    return _mm512_mask_min_ps(zero, _mm512_test_epi32_mask(bytes, bytes), product,
                              _mm512_set1_ps(kLargestFloat));
  }
};

struct WithCells {
  const CoarseTerms& terms;
  explicit WithCells(const CoarseTerms& all) : terms(all) {}

  __m512 operator()(__m512 z, __m512 t, __m512i extra) const {
    const __m512 e =
        _mm512_div_ps(_mm512_sub_ps(_mm512_cvtepi32_ps(extra), _mm512_set1_ps(kOffsetMiddle)),
                      _mm512_set1_ps(kOffsetRange));
    const __m512 spread = _mm512_add_ps(_mm512_mul_ps(z, _mm512_set1_ps(terms.norm_range)),
                                        _mm512_set1_ps(terms.line));
    const __m512 offset = _mm512_mul_ps(
        _mm512_mul_ps(_mm512_set1_ps(terms.w), z),
        _mm512_add_ps(_mm512_mul_ps(z, _mm512_set1_ps(terms.middle)), _mm512_mul_ps(e, spread)));
    const __m512 product = _mm512_mul_ps(_mm512_mul_ps(z, _mm512_set1_ps(terms.gain)), t);
    return _mm512_sub_ps(_mm512_add_ps(_mm512_set1_ps(terms.list_term), product), offset);
  }
};

struct WithoutCells {
  Table rho, factor;
  __m512 w;
  explicit WithoutCells(const CoarseTerms& terms)
      : rho(*terms.rho), factor(*terms.factor), w(_mm512_set1_ps(terms.w)) {}

  __m512 operator()(__m512 z, __m512 t, __m512i extra) const {
    const __m512 distance = _mm512_mul_ps(z, rho[extra]);
    const __m512 s = _mm512_mul_ps(_mm512_add_ps(z, z), factor[extra]);
    return _mm512_sub_ps(_mm512_mul_ps(s, t), _mm512_mul_ps(_mm512_mul_ps(w, distance), distance));
  }
};

template <class Score>
void scores_of(const std::uint16_t* sums, const std::uint8_t* scale, const std::uint8_t* extra,
               std::size_t blocks, const CoarseTerms& terms, float threshold, float* scores,
               std::uint32_t* masks) {
  const Table z(*terms.z);
  const Score score(terms);
  for (std::size_t b = 0; b < blocks; ++b) {
    masks[b] = 0;
    for (std::size_t v = 0; v < kBlock; v += kWide) {
      const std::size_t i = b * kBlock + v;
      const __m512i sum =
          _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(sums + i)));
      const __m512 t =
          _mm512_add_ps(_mm512_set1_ps(terms.bias),
                        _mm512_mul_ps(_mm512_set1_ps(terms.step), _mm512_cvtepi32_ps(sum)));
      const __m512 found = score(z[load_bytes(scale + i)], t, load_bytes(extra + i));
      _mm512_storeu_ps(scores + i, found);
      const std::uint32_t reached =
          _mm512_cmp_ps_mask(found, _mm512_set1_ps(threshold), _CMP_GE_OQ);
      masks[b] |= reached << v;
    }
  }
}

}  // namespace

CoarseKernels avx512_coarse_kernels() {
  return {.without_cells = scores_of<WithoutCells>, .with_cells = scores_of<WithCells>};
}

}  // namespace waterfill
