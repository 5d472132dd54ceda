// The AVX2 kernels.
//
// Products and sums are separate instructions (no FMA), as in scalar.cpp, so that codes and scores
// do not depend on the machine. Everything except the table has internal linkage, and no standard
// header with inline code is used: the linker must not pick AVX2 code for another CPU.
#include <immintrin.h>

#include "gram.hpp"
#include "kernels.hpp"

namespace waterfill {
namespace {

// kRows rows by one panel of 16 columns. The panel stays in the L1 cache, the sums in registers.
template <int kRows>
void project_tile(const float* x, std::size_t d, const float* columns, float* y,
                  std::size_t stride) {
  __m256 left[kRows], right[kRows];
  for (int r = 0; r < kRows; ++r) left[r] = right[r] = _mm256_setzero_ps();
  for (std::size_t k = 0; k < d; ++k) {
    const __m256 w0 = _mm256_loadu_ps(columns + k * kPanel);
    const __m256 w1 = _mm256_loadu_ps(columns + k * kPanel + 8);
    for (int r = 0; r < kRows; ++r) {
      const __m256 value = _mm256_broadcast_ss(x + r * d + k);
      left[r] = _mm256_add_ps(left[r], _mm256_mul_ps(value, w0));
      right[r] = _mm256_add_ps(right[r], _mm256_mul_ps(value, w1));
    }
  }
  for (int r = 0; r < kRows; ++r) {
    _mm256_storeu_ps(y + r * stride, left[r]);
    _mm256_storeu_ps(y + r * stride + 8, right[r]);
  }
}

// One row by four panels. The sums are independent: those of one panel wait for each addition.
void project_row(const float* x, std::size_t d, const float* columns, float* y) {
  constexpr std::size_t kPanels = 4;
  __m256 left[kPanels], right[kPanels];
  for (std::size_t p = 0; p < kPanels; ++p) left[p] = right[p] = _mm256_setzero_ps();
  for (std::size_t k = 0; k < d; ++k) {
    const __m256 value = _mm256_broadcast_ss(x + k);
    for (std::size_t p = 0; p < kPanels; ++p) {
      const float* w = columns + (p * d + k) * kPanel;
      left[p] = _mm256_add_ps(left[p], _mm256_mul_ps(value, _mm256_loadu_ps(w)));
      right[p] = _mm256_add_ps(right[p], _mm256_mul_ps(value, _mm256_loadu_ps(w + 8)));
    }
  }
  for (std::size_t p = 0; p < kPanels; ++p) {
    _mm256_storeu_ps(y + p * kPanel, left[p]);
    _mm256_storeu_ps(y + p * kPanel + 8, right[p]);
  }
}

void project(const float* x, std::size_t rows, std::size_t d, const float* w, std::size_t panels,
             float* y) {
  const std::size_t stride = panels * kPanel;
  std::size_t panel = 0;
  for (; rows == 1 && panel + 4 <= panels; panel += 4) {
    project_row(x, d, w + panel * d * kPanel, y + panel * kPanel);
  }
  for (; panel < panels; ++panel) {
    const float* columns = w + panel * d * kPanel;
    float* out = y + panel * kPanel;
    std::size_t r = 0;
    for (; r + 4 <= rows; r += 4) project_tile<4>(x + r * d, d, columns, out + r * stride, stride);
    for (; r < rows; ++r) project_tile<1>(x + r * d, d, columns, out + r * stride, stride);
  }
}

void residual(const float* row, const float* mean, std::size_t d, float* out, float* squares,
              float* largest) {
  const __m256 no_sign = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  __m256 square[2], most[2];
  for (int part = 0; part < 2; ++part) square[part] = most[part] = _mm256_setzero_ps();
  const std::size_t whole = d / kParts * kParts;
  for (std::size_t k = 0; k < whole; k += kParts) {
    for (int part = 0; part < 2; ++part) {
      const std::size_t at = k + 8 * part;
      const __m256 value = _mm256_sub_ps(_mm256_loadu_ps(row + at), _mm256_loadu_ps(mean + at));
      _mm256_storeu_ps(out + at, value);
      square[part] = _mm256_add_ps(square[part], _mm256_mul_ps(value, value));
      most[part] = _mm256_max_ps(_mm256_and_ps(value, no_sign), most[part]);
    }
  }
  for (int part = 0; part < 2; ++part) {
    _mm256_storeu_ps(squares + 8 * part, square[part]);
    _mm256_storeu_ps(largest + 8 * part, most[part]);
  }
  for (std::size_t k = whole; k < d; ++k) {
    out[k] = row[k] - mean[k];
    squares[0] += out[k] * out[k];
    const float size = __builtin_fabsf(out[k]);
    if (size > largest[0]) largest[0] = size;
  }
}

// Two adjacent 16-bit values in every 32-bit lane.
__m256i broadcast_pair(const std::int16_t* pair) {
  return _mm256_castps_si256(_mm256_broadcast_ss(reinterpret_cast<const float*>(pair)));
}

__m256 scaled(__m256i sums, const float* scales) {
  return _mm256_mul_ps(_mm256_cvtepi32_ps(sums), _mm256_loadu_ps(scales));
}

__m256i to_integers(__m256 values) {
  const __m256 largest = _mm256_set1_ps(32767), least = _mm256_set1_ps(-32767);
  return _mm256_cvtps_epi32(_mm256_max_ps(_mm256_min_ps(values, largest), least));
}

void store_row(__m256i left, __m256i right, std::int16_t* y) {
  const __m256i both = _mm256_permute4x64_epi64(_mm256_packs_epi32(left, right), 0xd8);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(y), both);
}

// kRows rows by one panel. The sums stay in registers.
template <int kRows>
void rotate_int16_tile(const std::int16_t* x, std::size_t d, const std::int16_t* columns,
                       const float* scales, std::int16_t* y, std::size_t stride) {
  __m256i left[kRows], right[kRows];
  for (int r = 0; r < kRows; ++r) left[r] = right[r] = _mm256_setzero_si256();
  const auto* w = reinterpret_cast<const __m256i*>(columns);
#pragma GCC unroll 2
  for (std::size_t k = 0; k < d; k += 2, w += 2) {
    const __m256i w0 = _mm256_loadu_si256(w), w1 = _mm256_loadu_si256(w + 1);
    for (int r = 0; r < kRows; ++r) {
      const __m256i pair = broadcast_pair(x + r * d + k);
      left[r] = _mm256_add_epi32(left[r], _mm256_madd_epi16(pair, w0));
      right[r] = _mm256_add_epi32(right[r], _mm256_madd_epi16(pair, w1));
    }
  }
#pragma GCC unroll 4  // or GCC keeps the sums in memory
  for (int r = 0; r < kRows; ++r) {
    store_row(to_integers(scaled(left[r], scales)), to_integers(scaled(right[r], scales + 8)),
              y + r * stride);
  }
}

void rotate_int16(const std::int16_t* x, std::size_t rows, std::size_t d, const std::int16_t* w,
                  const float* scales, std::size_t panels, std::int16_t* y) {
  const std::size_t stride = panels * kPanel;
  for (std::size_t panel = 0; panel < panels; ++panel) {
    const std::int16_t* columns = w + panel * d * kPanel;
    const float* own = scales + panel * kPanel;
    std::int16_t* out = y + panel * kPanel;
    std::size_t r = 0;
    for (; r + 4 <= rows; r += 4) {
      rotate_int16_tile<4>(x + r * d, d, columns, own, out + r * stride, stride);
    }
    for (; r < rows; ++r)
      rotate_int16_tile<1>(x + r * d, d, columns, own, out + r * stride, stride);
  }
}

// Products of 7 by 8 bits: the sum of two fits 16 bits, and a product with ones adds two of these.
template <int kRows>
void rotate_int8_tile(const std::uint8_t* x, std::size_t d, const std::int8_t* columns,
                      const std::int32_t* offsets, const float* scales, const float* row_scales,
                      std::int16_t* y, std::size_t stride) {
  const auto* offset = reinterpret_cast<const __m256i*>(offsets);
  __m256i left[kRows], right[kRows];
  for (int r = 0; r < kRows; ++r) left[r] = right[r] = _mm256_setzero_si256();
  const __m256i ones = _mm256_set1_epi16(1);
  const auto* w = reinterpret_cast<const __m256i*>(columns);
#pragma GCC unroll 2
  for (std::size_t k = 0; k < d; k += 4, w += 2) {
    const __m256i w0 = _mm256_loadu_si256(w), w1 = _mm256_loadu_si256(w + 1);
    for (int r = 0; r < kRows; ++r) {
      const __m256i four = broadcast_pair(reinterpret_cast<const std::int16_t*>(x + r * d + k));
      const __m256i twos0 = _mm256_maddubs_epi16(four, w0), twos1 = _mm256_maddubs_epi16(four, w1);
      left[r] = _mm256_add_epi32(left[r], _mm256_madd_epi16(twos0, ones));
      right[r] = _mm256_add_epi32(right[r], _mm256_madd_epi16(twos1, ones));
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
    const __m256 row = _mm256_set1_ps(row_scales[r]);
    const __m256i sums0 = _mm256_sub_epi32(left[r], _mm256_loadu_si256(offset));
    const __m256i sums1 = _mm256_sub_epi32(right[r], _mm256_loadu_si256(offset + 1));
    store_row(to_integers(_mm256_mul_ps(scaled(sums0, scales), row)),
              to_integers(_mm256_mul_ps(scaled(sums1, scales + 8), row)), y + r * stride);
  }
}

void rotate_int8(const std::uint8_t* x, std::size_t rows, std::size_t d, const std::int8_t* w,
                 const std::int32_t* offsets, const float* scales, const float* row_scales,
                 std::size_t panels, std::int16_t* y) {
  const std::size_t stride = panels * kPanel;
  for (std::size_t p = 0; p < panels; ++p) {
    const std::int8_t* columns = w + p * d * kPanel;
    const std::int32_t* own = offsets + p * kPanel;
    std::size_t r = 0;
    for (; r + 4 <= rows; r += 4) {
      rotate_int8_tile<4>(x + r * d, d, columns, own, scales + p * kPanel, row_scales + r,
                          y + r * stride + p * kPanel, stride);
    }
    for (; r < rows; ++r) {
      rotate_int8_tile<1>(x + r * d, d, columns, own, scales + p * kPanel, row_scales + r,
                          y + r * stride + p * kPanel, stride);
    }
  }
}

std::uint8_t number_of_least(__m256i keys) {
  __m128i least = _mm_min_epi32(_mm256_castsi256_si128(keys), _mm256_extracti128_si256(keys, 1));
  least = _mm_min_epi32(least, _mm_shuffle_epi32(least, 0x4e));
  least = _mm_min_epi32(least, _mm_shuffle_epi32(least, 0xb1));
  return static_cast<std::uint8_t>(_mm_cvtsi128_si32(least));
}

// kRows rows against 16 centroids at a time, so that each load of the codebook serves all rows. The
// number of a centroid replaces the low byte of its score, so one minimum finds both.
template <int kRows>
void nearest_rows(const std::int16_t* y, std::size_t stride, std::size_t width,
                  const std::int16_t* book, const std::int32_t* half_norms, std::uint8_t* codes,
                  std::size_t code_stride) {
  constexpr int kVectors = 2, kLanes = 8;
  __m256i least[kRows];
  for (int r = 0; r < kRows; ++r) least[r] = _mm256_set1_epi32(0x7fffffff);
  __m256i number = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i unit = _mm256_set1_epi32(-kScoreUnit);
  for (std::size_t c = 0; c < kCentroids; c += kVectors * kLanes) {
    __m256i score[kRows][kVectors];
    for (int v = 0; v < kVectors; ++v) {
      const __m256i start =
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(half_norms + c) + v);
      for (int r = 0; r < kRows; ++r) score[r][v] = start;
    }
    for (std::size_t j = 0; j < width; j += 2) {
      const auto* pieces = reinterpret_cast<const __m256i*>(book + j * kCentroids + c * 2);
      const __m256i piece0 = _mm256_loadu_si256(pieces), piece1 = _mm256_loadu_si256(pieces + 1);
      for (int r = 0; r < kRows; ++r) {
        const __m256i pair = broadcast_pair(y + r * stride + j);
        score[r][0] = _mm256_add_epi32(score[r][0], _mm256_madd_epi16(pair, piece0));
        score[r][1] = _mm256_add_epi32(score[r][1], _mm256_madd_epi16(pair, piece1));
      }
    }
    for (int v = 0; v < kVectors; ++v) {
      for (int r = 0; r < kRows; ++r) {
        const __m256i key = _mm256_or_si256(_mm256_and_si256(score[r][v], unit), number);
        least[r] = _mm256_min_epi32(least[r], key);
      }
      number = _mm256_add_epi32(number, _mm256_set1_epi32(kLanes));
    }
  }
  for (int r = 0; r < kRows; ++r) codes[r * code_stride] = number_of_least(least[r]);
}

void nearest(const std::int16_t* y, std::size_t rows, std::size_t stride, std::size_t width,
             const std::int16_t* book, const std::int32_t* half_norms, std::uint8_t* codes,
             std::size_t code_stride) {
  std::size_t r = 0;
  for (; r + 4 <= rows; r += 4) {
    nearest_rows<4>(y + r * stride, stride, width, book, half_norms, codes + r * code_stride,
                    code_stride);
  }
  for (; r < rows; ++r) {
    nearest_rows<1>(y + r * stride, stride, width, book, half_norms, codes + r * code_stride,
                    code_stride);
  }
}

void table(const float* q, std::size_t width, const float* book, float* table) {
  for (std::size_t c = 0; c < kCentroids; c += 32) {
    __m256 sum[4];
    for (int v = 0; v < 4; ++v) sum[v] = _mm256_setzero_ps();
    for (std::size_t j = 0; j < width; ++j) {
      const __m256 value = _mm256_broadcast_ss(q + j);
      for (int v = 0; v < 4; ++v) {
        const __m256 piece = _mm256_loadu_ps(book + j * kCentroids + c + 8 * v);
        sum[v] = _mm256_add_ps(sum[v], _mm256_mul_ps(value, piece));
      }
    }
    for (int v = 0; v < 4; ++v) _mm256_storeu_ps(table + c + 8 * v, sum[v]);
  }
}

__m256i load(const std::uint8_t* bytes) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes));
}

// The low and high bytes of the limits are looked up separately and interleaved. The halves of the
// result are then in the order of the sums.
void select(const std::uint16_t* sums, const std::uint8_t* scale, std::size_t blocks,
            const std::uint16_t* limits, std::uint32_t* masks) {
  const __m256i all = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(limits));
  const __m256i low_byte = _mm256_set1_epi16(255);
  const __m256i lows = _mm256_permute4x64_epi64(
      _mm256_packus_epi16(_mm256_and_si256(all, low_byte), _mm256_and_si256(all, low_byte)), 0x88);
  const __m256i highs = _mm256_permute4x64_epi64(
      _mm256_packus_epi16(_mm256_srli_epi16(all, 8), _mm256_srli_epi16(all, 8)), 0x88);
  const __m256i nibble = _mm256_set1_epi8(15);
  for (std::size_t b = 0; b < blocks; ++b) {
    const __m256i kind = _mm256_and_si256(_mm256_srli_epi16(load(scale + b * kBlock), 4), nibble);
    const __m256i low = _mm256_shuffle_epi8(lows, kind);
    const __m256i high = _mm256_shuffle_epi8(highs, kind);
    const __m256i a = _mm256_unpacklo_epi8(low, high), c = _mm256_unpackhi_epi8(low, high);
    const __m256i limit0 = _mm256_permute2x128_si256(a, c, 0x20);
    const __m256i limit1 = _mm256_permute2x128_si256(a, c, 0x31);
    const auto* own = reinterpret_cast<const __m256i*>(sums + b * kBlock);
    const __m256i sum0 = _mm256_loadu_si256(own), sum1 = _mm256_loadu_si256(own + 1);
    const __m256i pass0 = _mm256_cmpeq_epi16(_mm256_max_epu16(sum0, limit0), sum0);
    const __m256i pass1 = _mm256_cmpeq_epi16(_mm256_max_epu16(sum1, limit1), sum1);
    const __m256i pass = _mm256_permute4x64_epi64(_mm256_packs_epi16(pass0, pass1), 0xd8);
    masks[b] = static_cast<std::uint32_t>(_mm256_movemask_epi8(pass));
  }
}

struct GramTile {
  template <int kRows>
  static void add(const double* a, const double* b, std::size_t rows, std::size_t d, std::size_t i,
                  std::size_t j, double* sums) {
    __m256d sum[kRows];
    for (int l = 0; l < kRows; ++l) sum[l] = _mm256_setzero_pd();
    for (std::size_t r = 0; r < rows; ++r) {
      const __m256d right = _mm256_loadu_pd(b + r * d + j);
      for (int l = 0; l < kRows; ++l) {
        const __m256d left = _mm256_broadcast_sd(a + r * d + i + l);
        sum[l] = _mm256_add_pd(sum[l], _mm256_mul_pd(left, right));
      }
    }
    for (int l = 0; l < kRows; ++l) {
      double* out = sums + (i + l) * d + j;
      _mm256_storeu_pd(out, _mm256_add_pd(_mm256_loadu_pd(out), sum[l]));
    }
  }
};

}  // namespace

const Kernels& avx2_kernels() {
  static const Kernels kernels{.isa = "avx2",
                               .project = project,
                               .residual = residual,
                               .rotate_int16 = rotate_int16,
                               .rotate_int8 = rotate_int8,
                               .nearest = nearest,
                               .table = table,
                               .code_sums = avx2_code_sums(),
                               .scan = avx2_scan(),
                               .select = select,
                               .gram = gram_by<GramTile>,
                               .crc32c = sse42_crc32c,
                               .rows = avx2_row_kernels(),
                               .graph = avx2_graph_kernels(),
                               .coarse = avx2_coarse_kernels(),
                               .query = avx2_query_kernels()};
  return kernels;
}

}  // namespace waterfill
