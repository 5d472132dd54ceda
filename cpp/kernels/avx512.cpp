// The AVX-512 kernels (F, BW, VL, VNNI), 64 bytes per step; `residual` and `gram` are those of
// AVX2. The rules of avx2.cpp apply.
#include <immintrin.h>

#include "kernels.hpp"

namespace waterfill {
namespace {

constexpr int kMany = 8;  // panels of a single row, so that no sum waits for the one before

__m512i broadcast_four_bytes(const void* bytes) {
  std::int32_t four;
  __builtin_memcpy(&four, bytes, sizeof four);
  return _mm512_set1_epi32(four);
}

__m512 scaled(__m512i sums, const float* scales) {
  return _mm512_mul_ps(_mm512_cvtepi32_ps(sums), _mm512_loadu_ps(scales));
}

void store_panel(__m512 values, std::int16_t* y) {
  const __m512 largest = _mm512_set1_ps(32767), least = _mm512_set1_ps(-32767);
  const __m512 cut = _mm512_max_ps(_mm512_min_ps(values, largest), least);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(y),
                      _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(cut)));
}

// kRows rows by kPanels panels of 16 columns. The sums stay in registers.
template <int kRows, int kPanels>
void rotate_int16_tile(const std::int16_t* x, std::size_t d, const std::int16_t* w,
                       const float* scales, std::int16_t* y, std::size_t stride) {
  __m512i sum[kRows][kPanels];
  for (int r = 0; r < kRows; ++r) {
    for (int p = 0; p < kPanels; ++p) sum[r][p] = _mm512_setzero_si512();
  }
  for (std::size_t k = 0; k < d; k += 2) {
    __m512i columns[kPanels];
    for (int p = 0; p < kPanels; ++p) columns[p] = _mm512_loadu_si512(w + (p * d + k) * kPanel);
    for (int r = 0; r < kRows; ++r) {
      const __m512i pair = broadcast_four_bytes(x + r * d + k);
      for (int p = 0; p < kPanels; ++p) {
        sum[r][p] = _mm512_dpwssd_epi32(sum[r][p], pair, columns[p]);
      }
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int p = 0; p < kPanels; ++p) {
      store_panel(scaled(sum[r][p], scales + p * kPanel), y + r * stride + p * kPanel);
    }
  }
}

template <int kPanels>
void rotate_int16_panels(const std::int16_t* x, std::size_t rows, std::size_t d,
                         const std::int16_t* w, const float* scales, std::int16_t* y,
                         std::size_t stride) {
  std::size_t r = 0;
  for (; r + 8 <= rows; r += 8) {
    rotate_int16_tile<8, kPanels>(x + r * d, d, w, scales, y + r * stride, stride);
  }
  for (; r < rows; ++r) {
    rotate_int16_tile<1, kPanels>(x + r * d, d, w, scales, y + r * stride, stride);
  }
}

void rotate_int16(const std::int16_t* x, std::size_t rows, std::size_t d, const std::int16_t* w,
                  const float* scales, std::size_t panels, std::int16_t* y) {
  std::size_t p = 0;
  for (; rows == 1 && p + kMany <= panels; p += kMany) {
    rotate_int16_tile<1, kMany>(x, d, w + p * d * kPanel, scales + p * kPanel, y + p * kPanel,
                                panels * kPanel);
  }
  for (; p + 2 <= panels; p += 2) {
    rotate_int16_panels<2>(x, rows, d, w + p * d * kPanel, scales + p * kPanel, y + p * kPanel,
                           panels * kPanel);
  }
  if (p < panels) {
    rotate_int16_panels<1>(x, rows, d, w + p * d * kPanel, scales + p * kPanel, y + p * kPanel,
                           panels * kPanel);
  }
}

template <int kRows, int kPanels>
void rotate_int8_tile(const std::uint8_t* x, std::size_t d, const std::int8_t* w,
                      const std::int32_t* offsets, const float* scales, const float* row_scales,
                      std::int16_t* y, std::size_t stride) {
  __m512i sum[kRows][kPanels];
  for (int r = 0; r < kRows; ++r) {
    for (int p = 0; p < kPanels; ++p) sum[r][p] = _mm512_setzero_si512();
  }
  for (std::size_t k = 0; k < d; k += 4) {
    __m512i columns[kPanels];
    for (int p = 0; p < kPanels; ++p) columns[p] = _mm512_loadu_si512(w + (p * d + k) * kPanel);
    for (int r = 0; r < kRows; ++r) {
      const __m512i four = broadcast_four_bytes(x + r * d + k);
      for (int p = 0; p < kPanels; ++p) {
        sum[r][p] = _mm512_dpbusd_epi32(sum[r][p], four, columns[p]);
      }
    }
  }
  for (int r = 0; r < kRows; ++r) {
    const __m512 row = _mm512_set1_ps(row_scales[r]);
    for (int p = 0; p < kPanels; ++p) {
      const __m512i value = _mm512_sub_epi32(sum[r][p], _mm512_loadu_si512(offsets + p * kPanel));
      store_panel(_mm512_mul_ps(scaled(value, scales + p * kPanel), row),
                  y + r * stride + p * kPanel);
    }
  }
}

template <int kPanels>
void rotate_int8_panels(const std::uint8_t* x, std::size_t rows, std::size_t d,
                        const std::int8_t* w, const std::int32_t* offsets, const float* scales,
                        const float* row_scales, std::int16_t* y, std::size_t stride) {
  std::size_t r = 0;
  for (; r + 8 <= rows; r += 8) {
    rotate_int8_tile<8, kPanels>(x + r * d, d, w, offsets, scales, row_scales + r, y + r * stride,
                                 stride);
  }
  for (; r < rows; ++r) {
    rotate_int8_tile<1, kPanels>(x + r * d, d, w, offsets, scales, row_scales + r, y + r * stride,
                                 stride);
  }
}

void rotate_int8(const std::uint8_t* x, std::size_t rows, std::size_t d, const std::int8_t* w,
                 const std::int32_t* offsets, const float* scales, const float* row_scales,
                 std::size_t panels, std::int16_t* y) {
  const std::size_t stride = panels * kPanel;
  std::size_t p = 0;
  for (; rows == 1 && p + kMany <= panels; p += kMany) {
    rotate_int8_tile<1, kMany>(x, d, w + p * d * kPanel, offsets + p * kPanel, scales + p * kPanel,
                               row_scales, y + p * kPanel, stride);
  }
  for (; p + 2 <= panels; p += 2) {
    rotate_int8_panels<2>(x, rows, d, w + p * d * kPanel, offsets + p * kPanel, scales + p * kPanel,
                          row_scales, y + p * kPanel, stride);
  }
  if (p < panels) {
    rotate_int8_panels<1>(x, rows, d, w + p * d * kPanel, offsets + p * kPanel, scales + p * kPanel,
                          row_scales, y + p * kPanel, stride);
  }
}

// As in avx2.cpp, 16 centroids at a time.
template <int kRows>
void nearest_rows(const std::int16_t* y, std::size_t stride, std::size_t width,
                  const std::int16_t* book, const std::int32_t* half_norms, std::uint8_t* codes,
                  std::size_t code_stride) {
  constexpr int kLanes = 16;
  __m512i least[kRows];
  for (int r = 0; r < kRows; ++r) least[r] = _mm512_set1_epi32(0x7fffffff);
  __m512i number = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i unit = _mm512_set1_epi32(-kScoreUnit);
  for (std::size_t c = 0; c < kCentroids; c += kLanes) {
    __m512i score[kRows];
    for (int r = 0; r < kRows; ++r) score[r] = _mm512_loadu_si512(half_norms + c);
    for (std::size_t j = 0; j < width; j += 2) {
      const __m512i piece = _mm512_loadu_si512(book + j * kCentroids + c * 2);
      for (int r = 0; r < kRows; ++r) {
        const __m512i pair = broadcast_four_bytes(y + r * stride + j);
        score[r] = _mm512_dpwssd_epi32(score[r], pair, piece);
      }
    }
    constexpr int kSelect = 0xea;  // (score & unit) | number
    for (int r = 0; r < kRows; ++r) {
      const __m512i key = _mm512_ternarylogic_epi32(score[r], unit, number, kSelect);
      least[r] = _mm512_min_epi32(least[r], key);
    }
    number = _mm512_add_epi32(number, _mm512_set1_epi32(kLanes));
  }
  for (int r = 0; r < kRows; ++r) {
    codes[r * code_stride] = static_cast<std::uint8_t>(_mm512_reduce_min_epi32(least[r]));
  }
}

void nearest(const std::int16_t* y, std::size_t rows, std::size_t stride, std::size_t width,
             const std::int16_t* book, const std::int32_t* half_norms, std::uint8_t* codes,
             std::size_t code_stride) {
  std::size_t r = 0;
  for (; r + 8 <= rows; r += 8) {
    nearest_rows<8>(y + r * stride, stride, width, book, half_norms, codes + r * code_stride,
                    code_stride);
  }
  for (; r < rows; ++r) {
    nearest_rows<1>(y + r * stride, stride, width, book, half_norms, codes + r * code_stride,
                    code_stride);
  }
}

void select(const std::uint16_t* sums, const std::uint8_t* scale, std::size_t blocks,
            const std::uint16_t* limits, std::uint32_t* masks) {
  const __m512i table =
      _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(limits)));
  for (std::size_t b = 0; b < blocks; ++b) {
    const __m512i bytes = _mm512_cvtepu8_epi16(
        _mm256_loadu_si256(reinterpret_cast<const __m256i*>(scale + b * kBlock)));
    const __m512i limit = _mm512_permutexvar_epi16(_mm512_srli_epi16(bytes, 4), table);
    masks[b] = _mm512_cmpge_epu16_mask(_mm512_loadu_si512(sums + b * kBlock), limit);
  }
}

// kRows rows by one panel. The sums stay in registers.
template <int kRows>
void project_tile(const float* x, std::size_t d, const float* columns, float* y,
                  std::size_t stride) {
  __m512 sums[kRows];
  for (int r = 0; r < kRows; ++r) sums[r] = _mm512_setzero_ps();
  for (std::size_t k = 0; k < d; ++k) {
    const __m512 w = _mm512_loadu_ps(columns + k * kPanel);
    for (int r = 0; r < kRows; ++r) {
      sums[r] = _mm512_add_ps(sums[r], _mm512_mul_ps(_mm512_set1_ps(x[r * d + k]), w));
    }
  }
  for (int r = 0; r < kRows; ++r) _mm512_storeu_ps(y + r * stride, sums[r]);
}

// One row by four panels with independent sums.
void project_row(const float* x, std::size_t d, const float* columns, float* y) {
  constexpr int kPanels = 4;
  __m512 sums[kPanels];
  for (int p = 0; p < kPanels; ++p) sums[p] = _mm512_setzero_ps();
  for (std::size_t k = 0; k < d; ++k) {
    const __m512 value = _mm512_set1_ps(x[k]);
    for (int p = 0; p < kPanels; ++p) {
      const __m512 w = _mm512_loadu_ps(columns + (p * d + k) * kPanel);
      sums[p] = _mm512_add_ps(sums[p], _mm512_mul_ps(value, w));
    }
  }
  for (int p = 0; p < kPanels; ++p) _mm512_storeu_ps(y + p * kPanel, sums[p]);
}

void project(const float* x, std::size_t rows, std::size_t d, const float* w, std::size_t panels,
             float* y) {
  const std::size_t stride = panels * kPanel;
  std::size_t panel = 0;
  if (rows == 1) {
    for (; panel + 4 <= panels; panel += 4) {
      project_row(x, d, w + panel * d * kPanel, y + panel * kPanel);
    }
  }
  for (; panel < panels; ++panel) {
    const float* columns = w + panel * d * kPanel;
    float* out = y + panel * kPanel;
    std::size_t r = 0;
    for (; r + 8 <= rows; r += 8) project_tile<8>(x + r * d, d, columns, out + r * stride, stride);
    for (; r < rows; ++r) project_tile<1>(x + r * d, d, columns, out + r * stride, stride);
  }
}

void table(const float* q, std::size_t width, const float* book, float* table) {
  constexpr std::size_t kWide = 16, kSums = 4;
  for (std::size_t c = 0; c < kCentroids; c += kSums * kWide) {
    __m512 sum[kSums];
    for (std::size_t v = 0; v < kSums; ++v) sum[v] = _mm512_setzero_ps();
    for (std::size_t j = 0; j < width; ++j) {
      const __m512 value = _mm512_set1_ps(q[j]);
      for (std::size_t v = 0; v < kSums; ++v) {
        const __m512 piece = _mm512_loadu_ps(book + j * kCentroids + c + v * kWide);
        sum[v] = _mm512_add_ps(sum[v], _mm512_mul_ps(value, piece));
      }
    }
    for (std::size_t v = 0; v < kSums; ++v) _mm512_storeu_ps(table + c + v * kWide, sum[v]);
  }
}

}  // namespace

const Kernels& avx512_kernels() {
  static const Kernels table_ = [] {
    Kernels table = avx2_kernels();
    table.isa = "avx512";
    table.project = project;
    table.table = waterfill::table;
    table.rotate_int16 = rotate_int16;
    table.rotate_int8 = rotate_int8;
    table.nearest = nearest;
    table.scan = avx512_scan();
    table.select = select;
    table.rows = avx512_row_kernels();
    table.graph = avx512_graph_kernels();
    table.coarse = avx512_coarse_kernels();
    table.query = avx512_query_kernels();
    return table;
  }();
  return table_;
}

}  // namespace waterfill
