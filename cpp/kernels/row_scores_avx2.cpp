// Scores of refine rows with AVX2 and F16C, in the order of row_scores_scalar.cpp: lane l of
// register r is the scalar lane 8 r + l. The rules of avx2.cpp apply.
#include <immintrin.h>

#include "kernels.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kWide = 8, kRegisters = kRowLanes / kWide;

// A mask of the first `count` of eight lanes.
__m256i first_lanes(std::size_t count) {
  static const std::int32_t lanes[2 * kWide] = {-1, -1, -1, -1, -1, -1, -1, -1};
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(lanes + kWide - count));
}

// A row returns eight values from the k-th on; `rest` pads with zeros.

struct Float32 {
  const float* row;  // may have any alignment

  explicit Float32(const void* data) : row(static_cast<const float*>(data)) {}

  __m256 eight(std::size_t k) const { return _mm256_loadu_ps(row + k); }
  __m256 rest(std::size_t k, std::size_t count) const {
    return _mm256_maskload_ps(row + k, first_lanes(count));
  }
};

struct Float16 {
  const char* row;

  explicit Float16(const void* data) : row(static_cast<const char*>(data)) {}

  __m256 eight(std::size_t k) const {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(row + 2 * k)));
  }
  __m256 rest(std::size_t k, std::size_t count) const {
    std::uint16_t halves[kWide] = {};
    for (std::size_t i = 0; i < count; ++i) __builtin_memcpy(halves + i, row + 2 * (k + i), 2);
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(halves)));
  }
};

struct Int8 {
  const char* bytes;
  __m256 middle, step;

  explicit Int8(const void* data) : bytes(static_cast<const char*>(data) + kRowHead) {
    float head[2];
    __builtin_memcpy(head, data, sizeof head);
    middle = _mm256_set1_ps(head[0]);
    step = _mm256_set1_ps(head[1]);
  }

  __m256 value(__m128i eight_bytes) const {
    const __m256 number = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(eight_bytes));
    return _mm256_add_ps(middle, _mm256_mul_ps(step, number));
  }
  __m256 eight(std::size_t k) const {
    return value(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes + k)));
  }
  __m256 rest(std::size_t k, std::size_t count) const {
    char part[kWide] = {};
    for (std::size_t i = 0; i < count; ++i) part[i] = bytes[k + i];
    const __m256 values = value(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(part)));
    return _mm256_and_ps(values, _mm256_castsi256_ps(first_lanes(count)));
  }
};

struct Product {
  static __m256 term(__m256 query, __m256 row) { return _mm256_mul_ps(query, row); }
};

struct Distance {
  static __m256 term(__m256 query, __m256 row) {
    const __m256 apart = _mm256_sub_ps(query, row);
    return _mm256_mul_ps(apart, apart);
  }
};

float sum_of(const __m256* sum) {
  const __m256 eight = _mm256_add_ps(_mm256_add_ps(sum[0], sum[2]), _mm256_add_ps(sum[1], sum[3]));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

template <class Row, class Score>
float score(const float* query, const void* data, std::size_t d) {
  const Row row(data);
  __m256 sum[kRegisters];
  for (std::size_t r = 0; r < kRegisters; ++r) sum[r] = _mm256_setzero_ps();
  std::size_t k = 0;
  for (; k + kRowLanes <= d; k += kRowLanes) {
    for (std::size_t r = 0; r < kRegisters; ++r) {
      const std::size_t at = k + r * kWide;
      sum[r] = _mm256_add_ps(sum[r], Score::term(_mm256_loadu_ps(query + at), row.eight(at)));
    }
  }
  for (std::size_t r = 0; r < kRegisters && k < d; ++r, k += kWide) {
    __m256 term;
    if (k + kWide <= d) {
      term = Score::term(_mm256_loadu_ps(query + k), row.eight(k));
    } else {
      term = Score::term(_mm256_maskload_ps(query + k, first_lanes(d - k)), row.rest(k, d - k));
    }
    sum[r] = _mm256_add_ps(sum[r], term);
  }
  return sum_of(sum);
}

}  // namespace

RowKernels avx2_row_kernels() {
  return {.product = {.float32 = score<Float32, Product>,
                      .float16 = score<Float16, Product>,
                      .int8 = score<Int8, Product>},
          .distance = {.float32 = score<Float32, Distance>,
                       .float16 = score<Float16, Distance>,
                       .int8 = score<Int8, Distance>}};
}

}  // namespace waterfill
