// Coarse scores of L2 indexes with AVX2: eight vectors at a time, in the order of
// operations of coarse_scores_scalar.cpp.
#include <immintrin.h>

#include "kernels.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kWide = 8;

__m256i load_bytes(const std::uint8_t* bytes) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes)));
}

struct Table {
  __m256 high[2], low[2], zero;

  explicit Table(const SideTable& table)
      : high{_mm256_loadu_ps(table.high), _mm256_loadu_ps(table.high + kWide)},
        low{_mm256_loadu_ps(table.low), _mm256_loadu_ps(table.low + kWide)},
        zero(_mm256_set1_ps(table.zero)) {}

  __m256 operator[](__m256i bytes) const {
    const __m256 product =
        _mm256_mul_ps(entry(high, _mm256_srli_epi32(bytes, 4)), entry(low, bytes));
    const __m256 clipped = _mm256_min_ps(product, _mm256_set1_ps(kLargestFloat));
    const __m256i empty = _mm256_cmpeq_epi32(bytes, _mm256_setzero_si256());
    return _mm256_blendv_ps(clipped, zero, _mm256_castsi256_ps(empty));
  }

 private:
  // A permutation reads the low three bits; the fourth selects the half.
  static __m256 entry(const __m256 (&halves)[2], __m256i index) {
    constexpr int kToSign = 28;
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(halves[0], index),
                            _mm256_permutevar8x32_ps(halves[1], index),
                            _mm256_castsi256_ps(_mm256_slli_epi32(index, kToSign)));
  }
};

struct WithCells {
  const CoarseTerms& terms;
  explicit WithCells(const CoarseTerms& all) : terms(all) {}

  __m256 operator()(__m256 z, __m256 t, __m256i extra) const {
    const __m256 e =
        _mm256_div_ps(_mm256_sub_ps(_mm256_cvtepi32_ps(extra), _mm256_set1_ps(kOffsetMiddle)),
                      _mm256_set1_ps(kOffsetRange));
    const __m256 spread = _mm256_add_ps(_mm256_mul_ps(z, _mm256_set1_ps(terms.norm_range)),
                                        _mm256_set1_ps(terms.line));
    const __m256 offset = _mm256_mul_ps(
        _mm256_mul_ps(_mm256_set1_ps(terms.w), z),
        _mm256_add_ps(_mm256_mul_ps(z, _mm256_set1_ps(terms.middle)), _mm256_mul_ps(e, spread)));
    const __m256 product = _mm256_mul_ps(_mm256_mul_ps(z, _mm256_set1_ps(terms.gain)), t);
    return _mm256_sub_ps(_mm256_add_ps(_mm256_set1_ps(terms.list_term), product), offset);
  }
};

struct WithoutCells {
  Table rho, factor;
  __m256 w;
  explicit WithoutCells(const CoarseTerms& terms)
      : rho(*terms.rho), factor(*terms.factor), w(_mm256_set1_ps(terms.w)) {}

  __m256 operator()(__m256 z, __m256 t, __m256i extra) const {
    const __m256 distance = _mm256_mul_ps(z, rho[extra]);
    const __m256 s = _mm256_mul_ps(_mm256_add_ps(z, z), factor[extra]);
    return _mm256_sub_ps(_mm256_mul_ps(s, t), _mm256_mul_ps(_mm256_mul_ps(w, distance), distance));
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
      const __m256i sum =
          _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(sums + i)));
      const __m256 t =
          _mm256_add_ps(_mm256_set1_ps(terms.bias),
                        _mm256_mul_ps(_mm256_set1_ps(terms.step), _mm256_cvtepi32_ps(sum)));
      const __m256 found = score(z[load_bytes(scale + i)], t, load_bytes(extra + i));
      _mm256_storeu_ps(scores + i, found);
      const int reached =
          _mm256_movemask_ps(_mm256_cmp_ps(found, _mm256_set1_ps(threshold), _CMP_GE_OQ));
      masks[b] |= static_cast<std::uint32_t>(reached) << v;
    }
  }
}

}  // namespace

CoarseKernels avx2_coarse_kernels() {
  return {.without_cells = scores_of<WithoutCells>, .with_cells = scores_of<WithCells>};
}

}  // namespace waterfill
