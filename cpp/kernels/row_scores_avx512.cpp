// Scores of refine rows with AVX-512 (F, BW, VL), in the order of row_scores_scalar.cpp: lane l of
// register r is the scalar lane 16 r + l. The rules of avx2.cpp apply.
#include <immintrin.h>

#include "kernels.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kWide = 16;

// A row returns sixteen values from the k-th on. Values outside the mask are zero and not read.

struct Float32 {
  const float* row;  // may have any alignment

  explicit Float32(const void* data) : row(static_cast<const float*>(data)) {}

  __m512 values(std::size_t k, __mmask16 mask) const {
    return _mm512_maskz_loadu_ps(mask, row + k);
  }
};

struct Float16 {
  const char* row;

  explicit Float16(const void* data) : row(static_cast<const char*>(data)) {}

  __m512 values(std::size_t k, __mmask16 mask) const {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, row + 2 * k));
  }
};

struct Int8 {
  const char* bytes;
  __m512 middle, step;

  explicit Int8(const void* data) : bytes(static_cast<const char*>(data) + kRowHead) {
    float head[2];
    __builtin_memcpy(head, data, sizeof head);
    middle = _mm512_set1_ps(head[0]);
    step = _mm512_set1_ps(head[1]);
  }

  __m512 values(std::size_t k, __mmask16 mask) const {
    const __m512i numbers = _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(mask, bytes + k));
    return _mm512_maskz_add_ps(mask, middle, _mm512_mul_ps(step, _mm512_cvtepi32_ps(numbers)));
  }
};

struct Product {
  static __m512 term(__m512 query, __m512 row) { return _mm512_mul_ps(query, row); }
};

struct Distance {
  static __m512 term(__m512 query, __m512 row) {
    const __m512 apart = _mm512_sub_ps(query, row);
    return _mm512_mul_ps(apart, apart);
  }
};

float sum_of(__m512 front, __m512 back) {
  const __m512d sixteen = _mm512_castps_pd(_mm512_add_ps(front, back));
  const __m256 eight = _mm256_add_ps(_mm256_castpd_ps(_mm512_castpd512_pd256(sixteen)),
                                     _mm256_castpd_ps(_mm512_extractf64x4_pd(sixteen, 1)));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

template <class Row, class Score>
__m512 term(const float* query, const Row& row, std::size_t k, __mmask16 mask) {
  return Score::term(_mm512_maskz_loadu_ps(mask, query + k), row.values(k, mask));
}

template <class Row, class Score>
float score(const float* query, const void* data, std::size_t d) {
  constexpr __mmask16 kAll = 0xffff;
  const Row row(data);
  __m512 front = _mm512_setzero_ps(), back = front;
  std::size_t k = 0;
  for (; k + kRowLanes <= d; k += kRowLanes) {
    front = _mm512_add_ps(front, term<Row, Score>(query, row, k, kAll));
    back = _mm512_add_ps(back, term<Row, Score>(query, row, k + kWide, kAll));
  }
  if (k < d) {
    const std::uint32_t left = (std::uint32_t{1} << (d - k)) - 1;  // one bit per remaining value
    const auto first = static_cast<__mmask16>(left & kAll),
               second = static_cast<__mmask16>(left >> kWide);
    front = _mm512_add_ps(front, term<Row, Score>(query, row, k, first));
    if (second != 0) back = _mm512_add_ps(back, term<Row, Score>(query, row, k + kWide, second));
  }
  return sum_of(front, back);
}

}  // namespace

RowKernels avx512_row_kernels() {
  return {.product = {.float32 = score<Float32, Product>,
                      .float16 = score<Float16, Product>,
                      .int8 = score<Int8, Product>},
          .distance = {.float32 = score<Float32, Distance>,
                       .float16 = score<Float16, Distance>,
                       .int8 = score<Int8, Distance>}};
}

}  // namespace waterfill
