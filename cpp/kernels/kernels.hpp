// The inner loops, as one table of function pointers per instruction set.
//
// Kernels see raw pointers and sizes only. scalar.cpp defines every result; the other
// instruction sets compute the same floating-point operations in the same order (a product is
// rounded before it is added, terms are added by rising index), so results agree bit for bit.
#pragma once

#include <cstddef>
#include <cstdint>

namespace waterfill {

inline constexpr std::size_t kPanel = 16;           // columns of a packed matrix that go together
inline constexpr std::size_t kBlock = 32;           // vectors whose nibbles are interleaved
inline constexpr std::size_t kCentroids = 256;      // values of a code byte
inline constexpr std::size_t kCells = 16;           // values of its high nibble
inline constexpr std::size_t kMaxScanGroups = 256;  // 256 * 255 still fits 16 bits

struct Kernels {
  const char* isa;

  // y[r][j] = sum_k x[r][k] * w[k][j] for `rows` rows of `d` values and `panels` panels of
  // columns. w is packed panel by panel: w[(panel * d + k) * kPanel + column]; y has
  // panels * kPanel values a row.
  void (*project)(const float* x, std::size_t rows, std::size_t d, const float* w,
                  std::size_t panels, float* y);

  // codes[r * code_stride] = the c that minimises half_norms[c] - sum_j y[r][j] * book[j][c];
  // the smallest c among equals. Rows of y are `stride` apart; book has `width` rows of
  // kCentroids values.
  void (*nearest)(const float* y, std::size_t rows, std::size_t stride, std::size_t width,
                  const float* book, const float* half_norms, std::uint8_t* codes,
                  std::size_t code_stride);

  // table[c] = sum_j q[j] * book[j][c].
  void (*table)(const float* q, std::size_t width, const float* book, float* table);

  // sums[b * kBlock + v] = sum_g luts[g * kCells + nibble(b, g, v)] for `blocks` blocks.
  // Block b starts at planes + b * block_stride; group g of it is 16 bytes: byte j holds the
  // nibble of vector j in its low half and that of vector j + 16 in its high half.
  // `groups` is even and at most kMaxScanGroups.
  void (*scan)(const std::uint8_t* planes, std::size_t blocks, std::size_t block_stride,
               std::size_t groups, const std::uint8_t* luts, std::uint16_t* sums);

  // sums[i * d + j] += sum_r a[r][i] * b[r][j] for i in [first, last) and all j >= i (rounded
  // down to a multiple of 4); rows of a and b have d values, d a multiple of 4.
  void (*gram)(const double* a, const double* b, std::size_t rows, std::size_t d, std::size_t first,
               std::size_t last, double* sums);
};

const Kernels& scalar_kernels();
#if defined(WATERFILL_X86)
const Kernels& avx2_kernels();
#endif

// The table in use; dispatch.hpp says which that is.
const Kernels& kernels();

}  // namespace waterfill
