// The kernels: inner loops as one table of function pointers per instruction set.
//
// Kernels take raw pointers and sizes. scalar.cpp defines every result, and the other instruction
// sets agree with it bit for bit: codes and candidates depend on integer arithmetic, and
// floating-point loops do the same operations in the same order (products are rounded before they
// are added, terms are added by ascending index).
#pragma once

#include <cstddef>
#include <cstdint>

#include "waterfill/core/coarse_terms.hpp"
#include "waterfill/core/constants.hpp"

namespace waterfill {

inline constexpr std::size_t kPairStep = 4;        // pairs that a scan takes per step
inline constexpr int kMaxEntry = 127;              // of a scan's tables: the sum of two fits a byte
inline constexpr std::size_t kPrefetchBlocks = 4;  // prefetch distance of a scan
inline constexpr std::size_t kMostAhead = 256;     // bytes prefetched per step at most
inline constexpr std::size_t kScanQueries = 16;    // of a scan at most
inline constexpr std::size_t kLimits = 16;         // classes of scale bytes in `select`
inline constexpr std::size_t kRowHead = 8;         // bytes before the values of an int8 row
inline constexpr std::size_t kGraphLine = 64;      // bytes of the front line of a graph's row
inline constexpr std::size_t kGraphHead = 12;      // bytes of a front line that are not values
inline constexpr std::size_t kGraphHalf = 52;      // bytes of a front line that are values
inline constexpr std::size_t kGraphFront = 2 * kGraphHalf;  // dimensions of a front line

inline constexpr std::size_t blocks_for(std::size_t vectors) {
  return (vectors + kBlock - 1) / kBlock;
}

// Scores of a refine row of d values: <query, row>, or |query - row|^2. Rows may have any
// alignment. An int8 row starts with two floats, its middle and step, and its values are middle +
// step * byte. Term k is added to lane k % kRowLanes by ascending k; then the upper half of the
// lanes is added to the lower half until one is left.
struct RowKernels {
  using Score = float (*)(const float* query, const void* row, std::size_t d);
  struct Kinds {
    Score float32, float16, int8;
  };
  Kinds product, distance;
};

// Coarse scores of L2 indexes from the sums and side bytes of vectors. masks: bit v of block b for
// scores of at least `threshold`.
struct CoarseKernels {
  using Score = void (*)(const std::uint16_t* sums, const std::uint8_t* scale,
                         const std::uint8_t* extra, std::size_t blocks, const CoarseTerms& terms,
                         float threshold, float* scores, std::uint32_t* masks);
  // 2 z factor(extra) t - w (z rho(extra))^2
  Score without_cells;
  // list_term + z gain t - w z (z middle + e (z norm_range + line)), e = (extra - 128) / 127
  Score with_cells;
};

// Integer products of a graph's rows with a query. Dimension j of a row is a byte. Of the first
// kGraphFront dimensions the front line has the high nibbles behind its head, j in the low half of
// byte j and j + kGraphHalf in its high half; `rest` starts with their low nibbles in the same
// order, and the bytes of the `tail` other dimensions follow.
//
// Weights come in this order: kGraphLine for the low halves of the line, of which the first
// kGraphHead are zero, kGraphLine for the high halves, then those of the tail, with zeros up to a
// multiple of kGraphLine. A kernel may read kGraphLine bytes before and behind `rest`.
struct GraphKernels {
  // sums[i] = sum_j weights[j] * high nibble of dimension j, for row rows[i] of `lines`.
  void (*front)(const std::uint8_t* lines, const std::uint32_t* rows, std::size_t n,
                const std::int8_t* weights, std::int32_t* sums);
  // Returns sum_j (64 * high[j] + low[j]) * byte of dimension j, which fits 32 bits. Weights are
  // -64 to 64, so that the products of two bytes fit 16 bits.
  std::int32_t (*full)(const std::uint8_t* line, const std::uint8_t* rest, std::size_t tail,
                       const std::int8_t* high, const std::int8_t* low);
};

// What a query needs before its scan: tables, and the order of lists.
struct QueryKernels {
  // cells[g * kCells + h] = sum_j q[j] * book[j * kCells + h], for the dimensions j of group g:
  // offsets[g] to offsets[g + 1] - 1.
  void (*cells)(const float* q, const std::size_t* offsets, std::size_t groups, const float* book,
                float* cells);
  // The least of the kCells values of each group, and the difference between it and the largest.
  // Halves are compared with each other until one value is left.
  void (*ranges)(const float* cells, std::size_t groups, float* least, float* range);
  // n tables of bytes: luts[i * kCells + h] = (cells[g * kCells + h] - least[g]) * inverse_step -
  // before[i], for g = groups[i]; clipped to 0 ... kMaxEntry, and 0 for NaN.
  void (*quantize)(const float* cells, const float* least, const std::uint32_t* groups,
                   const float* before, std::size_t n, float inverse_step, std::uint8_t* luts);
  // scores[i] = products[i] * unit + share * addends[i], for n <= 32. Returns one bit each for
  // scores of at least `threshold`.
  std::uint32_t (*rank)(const std::int16_t* products, const float* addends, std::size_t n,
                        float unit, float share, float threshold, float* scores);
};

// The terms of full scores, without tables, for kCodes codes: sums over the groups, in their order.
constexpr std::size_t kCodes = 8;
struct CodeSums {
  float products[kCodes];  // of a query with the centroids: per group as `table` computes them
  float lengths[kCodes];   // squared lengths of the centroids
  float cells[kCodes];     // and of the means of their cells
};
// points: by group its centroids, `width` values each and then the squared length, in code order;
// a kernel may read kPointPadding values behind the last. cells: groups * kCells values; may be
// null if the caller needs only products. Group g has the dimensions from offsets[g] up to, but not
// including, offsets[g + 1].
constexpr std::size_t kPointPadding = 3, kCodePadding = 15;
struct CodePoints {
  const float* points;
  const float* cells;
  const std::size_t* offsets;
  std::size_t groups;
};
// codes: kCodes codes, `size` bytes apart, a byte per group; a kernel may read kCodePadding bytes
// behind the last.
using CodeSumsKernel = void (*)(const float* q, const CodePoints& points, const std::uint8_t* codes,
                                std::size_t size, CodeSums& sums);

// For `queries` (1 to kScanQueries) queries and `blocks` blocks:
//   sums[(q * blocks + b) * kBlock + v] = sum over i < count, e < 2 of
//       luts[q][(2 * i + e) * kCells + nibble of vector v in group 2 pairs[i] + e]
// Block b starts at planes + b * block_stride. A group has 16 bytes in it: byte j holds the nibble
// of vector j in its low half and that of vector j + 16 in its high half. A pair of groups may be
// named any number of times. `count` is a multiple of kPairStep, entries are at most kMaxEntry, and
// no sum exceeds 16 bits.
using ScanKernel = void (*)(const std::uint8_t* planes, std::size_t blocks,
                            std::size_t block_stride, const std::uint32_t* pairs, std::size_t count,
                            const std::uint8_t* const* luts, std::size_t queries,
                            std::uint16_t* sums);

// The CRC-32C of bytes without the initial and the final inversion: crc is that of the bytes
// before.
using CrcKernel = std::uint32_t (*)(const void* data, std::size_t size, std::uint32_t crc);

struct Kernels {
  const char* isa;

  // y[r][j] = sum_k x[r][k] * w[k][j] for `rows` rows of `d` values and `panels` panels of
  // columns. w is packed panel by panel: w[(panel * d + k) * kPanel + column]; y has
  // panels * kPanel values a row.
  void (*project)(const float* x, std::size_t rows, std::size_t d, const float* w,
                  std::size_t panels, float* y);

  // out[k] = row[k] - mean[k]; squares[k % kParts] is the sum of out[k]^2 and largest[k % kParts]
  // the largest |out[k]|. The values beyond the last multiple of kParts count to part 0.
  void (*residual)(const float* row, const float* mean, std::size_t d, float* out, float* squares,
                   float* largest);

  // y[r * panels * kPanel + j] = scales[j] * sum_k x[r * d + k] * w[k][j], rounded to the nearest
  // integer (ties to even) and clipped to +-32767. d is even and sums fit 32 bits. w is packed by
  // panels of columns and pairs of rows: w[((panel * d / 2 + k / 2) * kPanel + column) * 2 + k %
  // 2].
  void (*rotate_int16)(const std::int16_t* x, std::size_t rows, std::size_t d,
                       const std::int16_t* w, const float* scales, std::size_t panels,
                       std::int16_t* y);

  // The same for int8: x has values of 0 to 127 that stand for x - 64, w of -127 to 127, packed by
  // fours of rows: w[((panel * d / 4 + k / 4) * kPanel + column) * 4 + k % 4]; d is a
  // multiple of 4, offsets[j] = 64 * sum_k w[k][j], and a row's results are also multiplied by
  // row_scales[r] (after scales[j]).
  void (*rotate_int8)(const std::uint8_t* x, std::size_t rows, std::size_t d, const std::int8_t* w,
                      const std::int32_t* offsets, const float* scales, const float* row_scales,
                      std::size_t panels, std::int16_t* y);

  // codes[r * code_stride] = the c with the least floor(score / kScoreUnit), the smallest c of
  // ties:
  //  score = half_norms[c] + sum_j y[r * stride + j] * book[j][c]
  // The book holds negative centroids, packed by pairs of dimensions: book[(j / 2 * kCentroids + c)
  // * 2 + j % 2]. `width` is even (so y may be read one value past a group) and scores fit 32 bits.
  void (*nearest)(const std::int16_t* y, std::size_t rows, std::size_t stride, std::size_t width,
                  const std::int16_t* book, const std::int32_t* half_norms, std::uint8_t* codes,
                  std::size_t code_stride);

  // table[c] = sum_j q[j] * book[j][c].
  void (*table)(const float* q, std::size_t width, const float* book, float* table);

  CodeSumsKernel code_sums;

  ScanKernel scan;

  // Bit v of masks[b] = sums[b * kBlock + v] >= limits[scale[b * kBlock + v] / 16].
  void (*select)(const std::uint16_t* sums, const std::uint8_t* scale, std::size_t blocks,
                 const std::uint16_t* limits, std::uint32_t* masks);

  // sums[i * d + j] += sum_r a[r][i] * b[r][j] for i in [first, last) and all j >= i (rounded
  // down to a multiple of 4); rows of a and b have d values, d a multiple of 4.
  void (*gram)(const double* a, const double* b, std::size_t rows, std::size_t d, std::size_t first,
               std::size_t last, double* sums);

  CrcKernel crc32c;

  RowKernels rows;

  GraphKernels graph;

  CoarseKernels coarse;

  QueryKernels query;
};

const Kernels& scalar_kernels();
RowKernels scalar_row_kernels();
GraphKernels scalar_graph_kernels();
CoarseKernels scalar_coarse_kernels();
QueryKernels scalar_query_kernels();
std::uint32_t scalar_crc32c(const void* data, std::size_t size, std::uint32_t crc);
#if defined(WATERFILL_X86)
const Kernels& avx2_kernels();
RowKernels avx2_row_kernels();
GraphKernels avx2_graph_kernels();
CoarseKernels avx2_coarse_kernels();
QueryKernels avx2_query_kernels();
CodeSumsKernel avx2_code_sums();
ScanKernel avx2_scan();
std::uint32_t sse42_crc32c(const void* data, std::size_t size, std::uint32_t crc);
const Kernels& avx512_kernels();
RowKernels avx512_row_kernels();
GraphKernels avx512_graph_kernels();
CoarseKernels avx512_coarse_kernels();
QueryKernels avx512_query_kernels();
ScanKernel avx512_scan();
const Kernels& avx512_vbmi_kernels();
#endif
#if defined(WATERFILL_ARM64)
const Kernels& neon_kernels();
RowKernels neon_row_kernels();
CrcKernel arm_crc32c();  // the scalar one if the processor has no instruction
#endif

// The table in use; see dispatch.hpp.
const Kernels& kernels();

}  // namespace waterfill
