// The NEON kernels, for every 64-bit ARM.
//
// Products and sums are separate instructions, as in scalar.cpp. This needs -ffp-contract=off,
// since arm_neon.h writes them as * and +, which a compiler may fuse. As in avx2.cpp, everything
// except the table has internal linkage and no standard header with inline code is used.
#include <arm_neon.h>

#include "gram.hpp"
#include "kernels.hpp"

namespace waterfill {
namespace {

// kRows rows by one panel of 16 columns. The panel stays in the L1 cache, the sums in registers.
template <std::size_t kRows>
void project_tile(const float* x, std::size_t d, const float* columns, float* y,
                  std::size_t stride) {
  constexpr std::size_t kParts = kPanel / 4;
  float32x4_t sum[kRows][kParts];
  for (std::size_t r = 0; r < kRows; ++r) {
    for (std::size_t p = 0; p < kParts; ++p) sum[r][p] = vdupq_n_f32(0);
  }
  for (std::size_t k = 0; k < d; ++k) {
    float32x4_t w[kParts];
    for (std::size_t p = 0; p < kParts; ++p) w[p] = vld1q_f32(columns + k * kPanel + 4 * p);
    for (std::size_t r = 0; r < kRows; ++r) {
      const float32x4_t value = vdupq_n_f32(x[r * d + k]);
      for (std::size_t p = 0; p < kParts; ++p)
        sum[r][p] = vaddq_f32(sum[r][p], vmulq_f32(value, w[p]));
    }
  }
  for (std::size_t r = 0; r < kRows; ++r) {
    for (std::size_t p = 0; p < kParts; ++p) vst1q_f32(y + r * stride + 4 * p, sum[r][p]);
  }
}

void project(const float* x, std::size_t rows, std::size_t d, const float* w, std::size_t panels,
             float* y) {
  const std::size_t stride = panels * kPanel;
  for (std::size_t panel = 0; panel < panels; ++panel) {
    const float* columns = w + panel * d * kPanel;
    float* out = y + panel * kPanel;
    std::size_t r = 0;
    for (; r + 4 <= rows; r += 4) project_tile<4>(x + r * d, d, columns, out + r * stride, stride);
    for (; r < rows; ++r) project_tile<1>(x + r * d, d, columns, out + r * stride, stride);
  }
}

void residual(const float* row, const float* mean, std::size_t d, float* out, float* squares,
              float* largest) {
  constexpr std::size_t kVectors = kParts / 4;
  float32x4_t square[kVectors], most[kVectors];
  for (std::size_t v = 0; v < kVectors; ++v) square[v] = most[v] = vdupq_n_f32(0);
  const std::size_t whole = d / kParts * kParts;
  for (std::size_t k = 0; k < whole; k += kParts) {
    for (std::size_t v = 0; v < kVectors; ++v) {
      const std::size_t at = k + 4 * v;
      const float32x4_t value = vsubq_f32(vld1q_f32(row + at), vld1q_f32(mean + at));
      vst1q_f32(out + at, value);
      square[v] = vaddq_f32(square[v], vmulq_f32(value, value));
      most[v] = vmaxq_f32(most[v], vabsq_f32(value));
    }
  }
  for (std::size_t v = 0; v < kVectors; ++v) {
    vst1q_f32(squares + 4 * v, square[v]);
    vst1q_f32(largest + 4 * v, most[v]);
  }
  for (std::size_t k = whole; k < d; ++k) {
    out[k] = row[k] - mean[k];
    squares[0] += out[k] * out[k];
    const float size = __builtin_fabsf(out[k]);
    if (size > largest[0]) largest[0] = size;
  }
}

int16x4_t load_pair(const std::int16_t* pair) {
  std::int32_t both;
  __builtin_memcpy(&both, pair, sizeof both);
  return vreinterpret_s16_s32(vdup_n_s32(both));
}

// Adds pair[0] * w[0] + pair[1] * w[1] to eight sums. Matrix and codebook interleave two rows;
// their loads (vld2q) separate them, for one widening multiply-add per value.
void add_products(int32x4_t* sum, int16x4_t pair, int16x8x2_t w) {
  sum[0] = vmlal_lane_s16(sum[0], vget_low_s16(w.val[0]), pair, 0);
  sum[1] = vmlal_high_lane_s16(sum[1], w.val[0], pair, 0);
  sum[0] = vmlal_lane_s16(sum[0], vget_low_s16(w.val[1]), pair, 1);
  sum[1] = vmlal_high_lane_s16(sum[1], w.val[1], pair, 1);
}

float32x4_t scaled(int32x4_t sum, const float* scales) {
  return vmulq_f32(vcvtq_f32_s32(sum), vld1q_f32(scales));
}

// Conversion and narrowing saturate at -32768, which the last step raises to -32767.
int16x8_t to_integers(float32x4_t low, float32x4_t high) {
  const int16x4_t narrow = vqmovn_s32(vcvtnq_s32_f32(low));
  return vmaxq_s16(vqmovn_high_s32(narrow, vcvtnq_s32_f32(high)), vdupq_n_s16(-32767));
}

// kRows rows by one panel. The sums stay in registers.
template <std::size_t kRows>
void rotate_int16_tile(const std::int16_t* x, std::size_t d, const std::int16_t* columns,
                       const float* scales, std::int16_t* y, std::size_t stride) {
  constexpr std::size_t kParts = kPanel / 4;
  int32x4_t sum[kRows][kParts];
  for (std::size_t r = 0; r < kRows; ++r) {
    for (std::size_t p = 0; p < kParts; ++p) sum[r][p] = vdupq_n_s32(0);
  }
  for (std::size_t k = 0; k < d; k += 2) {
    const int16x8x2_t left = vld2q_s16(columns + k * kPanel);
    const int16x8x2_t right = vld2q_s16(columns + k * kPanel + 16);
    for (std::size_t r = 0; r < kRows; ++r) {
      const int16x4_t pair = load_pair(x + r * d + k);
      add_products(sum[r], pair, left);
      add_products(sum[r] + 2, pair, right);
    }
  }
  for (std::size_t r = 0; r < kRows; ++r) {
    for (std::size_t p = 0; p < kParts; p += 2) {
      const float32x4_t low = scaled(sum[r][p], scales + 4 * p);
      const float32x4_t high = scaled(sum[r][p + 1], scales + 4 * p + 4);
      vst1q_s16(y + r * stride + 4 * p, to_integers(low, high));
    }
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

int8x16_t load_four(const std::uint8_t* four) {
  std::int32_t all;
  __builtin_memcpy(&all, four, sizeof all);
  return vreinterpretq_s8_s32(vdupq_n_s32(all));
}

// Adds four products to each of four sums. Products have 7 by 8 bits, so the sum of two fits 16
// bits: neighbors are added at that width first, then into 32 bits.
int32x4_t add_fours(int32x4_t sum, int8x16_t four, int8x16_t w) {
  const int16x8_t low = vmull_s8(vget_low_s8(four), vget_low_s8(w));
  return vpadalq_s16(sum, vpaddq_s16(low, vmull_high_s8(four, w)));
}

template <std::size_t kRows>
void rotate_int8_tile(const std::uint8_t* x, std::size_t d, const std::int8_t* columns,
                      const std::int32_t* offsets, const float* scales, const float* row_scales,
                      std::int16_t* y, std::size_t stride) {
  constexpr std::size_t kParts = kPanel / 4;
  int32x4_t sum[kRows][kParts];
  for (std::size_t r = 0; r < kRows; ++r) {
    for (std::size_t p = 0; p < kParts; ++p) sum[r][p] = vnegq_s32(vld1q_s32(offsets + 4 * p));
  }
  for (std::size_t k = 0; k < d; k += 4) {
    int8x16_t w[kParts];
    for (std::size_t p = 0; p < kParts; ++p) w[p] = vld1q_s8(columns + k * kPanel + 16 * p);
    for (std::size_t r = 0; r < kRows; ++r) {
      const int8x16_t four = load_four(x + r * d + k);
      for (std::size_t p = 0; p < kParts; ++p) sum[r][p] = add_fours(sum[r][p], four, w[p]);
    }
  }
  for (std::size_t r = 0; r < kRows; ++r) {
    const float32x4_t row = vdupq_n_f32(row_scales[r]);
    for (std::size_t p = 0; p < kParts; p += 2) {
      const float32x4_t low = vmulq_f32(scaled(sum[r][p], scales + 4 * p), row);
      const float32x4_t high = vmulq_f32(scaled(sum[r][p + 1], scales + 4 * p + 4), row);
      vst1q_s16(y + r * stride + 4 * p, to_integers(low, high));
    }
  }
}

void rotate_int8(const std::uint8_t* x, std::size_t rows, std::size_t d, const std::int8_t* w,
                 const std::int32_t* offsets, const float* scales, const float* row_scales,
                 std::size_t panels, std::int16_t* y) {
  const std::size_t stride = panels * kPanel;
  for (std::size_t panel = 0; panel < panels; ++panel) {
    const std::int8_t* columns = w + panel * d * kPanel;
    const std::int32_t* own = offsets + panel * kPanel;
    const float* units = scales + panel * kPanel;
    std::int16_t* out = y + panel * kPanel;
    std::size_t r = 0;
    for (; r + 4 <= rows; r += 4) {
      rotate_int8_tile<4>(x + r * d, d, columns, own, units, row_scales + r, out + r * stride,
                          stride);
    }
    for (; r < rows; ++r) {
      rotate_int8_tile<1>(x + r * d, d, columns, own, units, row_scales + r, out + r * stride,
                          stride);
    }
  }
}

// kRows rows against 16 centroids at a time, so that each load of the codebook serves all rows. The
// number of a centroid replaces the low byte of its score, so one minimum finds both.
template <std::size_t kRows>
void nearest_rows(const std::int16_t* y, std::size_t stride, std::size_t width,
                  const std::int16_t* book, const std::int32_t* half_norms, std::uint8_t* codes,
                  std::size_t code_stride) {
  constexpr std::size_t kVectors = 4, kLanes = 4;
  int32x4_t least[kRows];
  for (std::size_t r = 0; r < kRows; ++r) least[r] = vdupq_n_s32(0x7fffffff);
  const std::int32_t first[kLanes] = {0, 1, 2, 3};
  int32x4_t number = vld1q_s32(first);
  const uint32x4_t unit = vdupq_n_u32(-static_cast<std::uint32_t>(kScoreUnit));
  for (std::size_t c = 0; c < kCentroids; c += kVectors * kLanes) {
    int32x4_t score[kRows][kVectors];
    for (std::size_t v = 0; v < kVectors; ++v) {
      const int32x4_t start = vld1q_s32(half_norms + c + v * kLanes);
      for (std::size_t r = 0; r < kRows; ++r) score[r][v] = start;
    }
    for (std::size_t j = 0; j < width; j += 2) {
      const std::int16_t* pieces = book + j * kCentroids + c * 2;
      const int16x8x2_t left = vld2q_s16(pieces), right = vld2q_s16(pieces + 16);
      for (std::size_t r = 0; r < kRows; ++r) {
        const int16x4_t pair = load_pair(y + r * stride + j);
        add_products(score[r], pair, left);
        add_products(score[r] + 2, pair, right);
      }
    }
    for (std::size_t v = 0; v < kVectors; ++v) {
      for (std::size_t r = 0; r < kRows; ++r) {
        least[r] = vminq_s32(least[r], vbslq_s32(unit, score[r][v], number));
      }
      number = vaddq_s32(number, vdupq_n_s32(kLanes));
    }
  }
  for (std::size_t r = 0; r < kRows; ++r) {
    codes[r * code_stride] = static_cast<std::uint8_t>(vminvq_s32(least[r]));
  }
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
  constexpr std::size_t kVectors = 8;
  for (std::size_t c = 0; c < kCentroids; c += 4 * kVectors) {
    float32x4_t sum[kVectors];
    for (std::size_t v = 0; v < kVectors; ++v) sum[v] = vdupq_n_f32(0);
    for (std::size_t j = 0; j < width; ++j) {
      const float32x4_t value = vdupq_n_f32(q[j]);
      for (std::size_t v = 0; v < kVectors; ++v) {
        const float32x4_t piece = vld1q_f32(book + j * kCentroids + c + 4 * v);
        sum[v] = vaddq_f32(sum[v], vmulq_f32(value, piece));
      }
    }
    for (std::size_t v = 0; v < kVectors; ++v) vst1q_f32(table + c + 4 * v, sum[v]);
  }
}

// Sums of 16 vectors in their order.
struct Sums {
  uint16x8_t low, high;

  void clear() { low = high = vdupq_n_u16(0); }

  void add(uint8x16_t bytes) {
    low = vaddw_u8(low, vget_low_u8(bytes));
    high = vaddw_high_u8(high, bytes);
  }

  void store(std::uint16_t* out) const {
    vst1q_u16(out, low);
    vst1q_u16(out + 8, high);
  }
};

// One block for kQueries queries, with all sums in registers: nibbles are loaded and separated once
// for all queries. The entries of the two groups of a pair are added as bytes before they are
// widened.
template <std::size_t kQueries>
void scan_block(const std::uint8_t* block, std::size_t block_stride, const std::uint32_t* pairs,
                std::size_t count, const std::uint8_t* const* luts, std::uint16_t* sums,
                std::size_t sum_stride) {
  const std::uint8_t* ahead = block + kPrefetchBlocks * block_stride;
  const uint8x16_t nibble = vdupq_n_u8(15);
  Sums front[kQueries], back[kQueries];
  for (std::size_t q = 0; q < kQueries; ++q) {
    front[q].clear();
    back[q].clear();
  }
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t offset = pairs[i] * kPairBytes;
    __builtin_prefetch(ahead + offset);
    const uint8x16_t first = vld1q_u8(block + offset), second = vld1q_u8(block + offset + 16);
    const uint8x16_t low0 = vandq_u8(first, nibble), low1 = vandq_u8(second, nibble);
    const uint8x16_t high0 = vshrq_n_u8(first, 4), high1 = vshrq_n_u8(second, 4);
#pragma GCC unroll 4  // or Clang keeps the sums in memory
    for (std::size_t q = 0; q < kQueries; ++q) {
      const std::uint8_t* lut = luts[q] + i * 2 * kCells;
      const uint8x16_t lut0 = vld1q_u8(lut), lut1 = vld1q_u8(lut + kCells);
      front[q].add(vaddq_u8(vqtbl1q_u8(lut0, low0), vqtbl1q_u8(lut1, low1)));
      back[q].add(vaddq_u8(vqtbl1q_u8(lut0, high0), vqtbl1q_u8(lut1, high1)));
    }
  }
  for (std::size_t q = 0; q < kQueries; ++q) {
    front[q].store(sums + q * sum_stride);
    back[q].store(sums + q * sum_stride + 16);
  }
}

// A block for the first of the queries, at most kMost.
template <std::size_t kMost>
void scan_pass(const std::uint8_t* block, std::size_t block_stride, const std::uint32_t* pairs,
               std::size_t count, const std::uint8_t* const* luts, std::size_t queries,
               std::uint16_t* sums, std::size_t sum_stride) {
  if constexpr (kMost > 1) {
    if (queries < kMost) {
      return scan_pass<kMost - 1>(block, block_stride, pairs, count, luts, queries, sums,
                                  sum_stride);
    }
  }
  scan_block<kMost>(block, block_stride, pairs, count, luts, sums, sum_stride);
}

void scan(const std::uint8_t* planes, std::size_t blocks, std::size_t block_stride,
          const std::uint32_t* pairs, std::size_t count, const std::uint8_t* const* luts,
          std::size_t queries, std::uint16_t* sums) {
  constexpr std::size_t kPass = 4;  // queries whose sums stay in registers
  for (std::size_t q = 0; q < queries; q += kPass) {
    for (std::size_t b = 0; b < blocks; ++b) {
      scan_pass<kPass>(planes + b * block_stride, block_stride, pairs, count, luts + q, queries - q,
                       sums + (q * blocks + b) * kBlock, blocks * kBlock);
    }
  }
}

// For 16 vectors, a byte of ones if the sum reaches its limit. The low and high bytes of the limits
// are looked up separately and interleaved.
uint8x16_t reaches(const std::uint16_t* sums, const std::uint8_t* scale, uint8x16x2_t limits) {
  const uint8x16_t kind = vshrq_n_u8(vld1q_u8(scale), 4);
  const uint8x16_t low = vqtbl1q_u8(limits.val[0], kind), high = vqtbl1q_u8(limits.val[1], kind);
  const uint16x8_t limit0 = vreinterpretq_u16_u8(vzip1q_u8(low, high));
  const uint16x8_t limit1 = vreinterpretq_u16_u8(vzip2q_u8(low, high));
  const uint16x8_t pass0 = vcgeq_u16(vld1q_u16(sums), limit0);
  const uint16x8_t pass1 = vcgeq_u16(vld1q_u16(sums + 8), limit1);
  return vmovn_high_u16(vmovn_u16(pass0), pass1);
}

// Each vector keeps one bit of its byte; three pairwise additions gather 32 bits in order.
void select(const std::uint16_t* sums, const std::uint8_t* scale, std::size_t blocks,
            const std::uint16_t* limits, std::uint32_t* masks) {
  const uint8x16x2_t parts = vld2q_u8(reinterpret_cast<const std::uint8_t*>(limits));
  const uint8x16_t bits = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201u));
  for (std::size_t b = 0; b < blocks; ++b, sums += kBlock, scale += kBlock) {
    const uint8x16_t front = vandq_u8(reaches(sums, scale, parts), bits);
    const uint8x16_t back = vandq_u8(reaches(sums + 16, scale + 16, parts), bits);
    uint8x16_t gathered = vpaddq_u8(front, back);
    gathered = vpaddq_u8(gathered, gathered);
    gathered = vpaddq_u8(gathered, gathered);
    masks[b] = vgetq_lane_u32(vreinterpretq_u32_u8(gathered), 0);
  }
}

struct GramTile {
  template <std::size_t kRows>
  static void add(const double* a, const double* b, std::size_t rows, std::size_t d, std::size_t i,
                  std::size_t j, double* sums) {
    float64x2_t sum[kRows][2];
    for (std::size_t l = 0; l < kRows; ++l) sum[l][0] = sum[l][1] = vdupq_n_f64(0);
    for (std::size_t r = 0; r < rows; ++r) {
      const float64x2_t right0 = vld1q_f64(b + r * d + j), right1 = vld1q_f64(b + r * d + j + 2);
      for (std::size_t l = 0; l < kRows; ++l) {
        const float64x2_t left = vdupq_n_f64(a[r * d + i + l]);
        sum[l][0] = vaddq_f64(sum[l][0], vmulq_f64(left, right0));
        sum[l][1] = vaddq_f64(sum[l][1], vmulq_f64(left, right1));
      }
    }
    for (std::size_t l = 0; l < kRows; ++l) {
      double* out = sums + (i + l) * d + j;
      vst1q_f64(out, vaddq_f64(vld1q_f64(out), sum[l][0]));
      vst1q_f64(out + 2, vaddq_f64(vld1q_f64(out + 2), sum[l][1]));
    }
  }
};

}  // namespace

const Kernels& neon_kernels() {
  static const Kernels kernels{.isa = "neon",
                               .project = project,
                               .residual = residual,
                               .rotate_int16 = rotate_int16,
                               .rotate_int8 = rotate_int8,
                               .nearest = nearest,
                               .table = table,
                               .code_sums = scalar_kernels().code_sums,
                               .scan = scan,
                               .select = select,
                               .gram = gram_by<GramTile>,
                               .crc32c = arm_crc32c(),
                               .rows = neon_row_kernels(),
                               .graph = scalar_graph_kernels(),
                               .coarse = scalar_coarse_kernels(),
                               .query = scalar_query_kernels()};
  return kernels;
}

}  // namespace waterfill
