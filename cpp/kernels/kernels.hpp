// The inner loops, as one table of function pointers per instruction set.
//
// Kernels see raw pointers and sizes only. scalar.cpp defines every result; the other
// instruction sets compute the same floating-point operations in the same order (a product is
// rounded before it is added, terms are added by rising index), so results agree bit for bit.
#pragma once

#include <cstddef>
#include <cstdint>

namespace waterfill {

inline constexpr std::size_t kPanel = 16;          // columns of a packed matrix that go together
inline constexpr std::size_t kBlock = 32;          // vectors whose nibbles are interleaved
inline constexpr std::size_t kCentroids = 256;     // values of a code byte
inline constexpr std::size_t kCells = 16;          // values of its high nibble
inline constexpr std::size_t kPairBytes = 32;      // nibbles of two groups in a block
inline constexpr std::size_t kPairStep = 4;        // pairs that a scan takes at a time
inline constexpr int kMaxEntry = 127;              // of a scan's tables: two add up in a byte
inline constexpr std::size_t kPrefetchBlocks = 4;  // that a scan asks for ahead
inline constexpr std::size_t kScanQueries = 4;     // queries that one pass over a block serves
inline constexpr std::size_t kLimits = 16;         // classes of scale bytes in `select`

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

  // For `queries` (1 to kScanQueries) queries and `blocks` blocks:
  //   sums[(q * blocks + b) * kBlock + v] = sum over i < count, e < 2 of
  //       luts[((q * count + i) * 2 + e) * kCells + nibble of vector v in group 2 pairs[i] + e]
  // Block b starts at planes + b * block_stride; a group of it is 16 bytes: byte j holds the
  // nibble of vector j in its low half and that of vector j + 16 in its high half. Groups are
  // named in pairs, a pair as often as the caller likes. `count` is a multiple of kPairStep,
  // entries are at most kMaxEntry, and no sum exceeds 16 bits.
  void (*scan)(const std::uint8_t* planes, std::size_t blocks, std::size_t block_stride,
               const std::uint32_t* pairs, std::size_t count, const std::uint8_t* luts,
               std::size_t queries, std::uint16_t* sums);

  // Bit v of masks[b] = sums[b * kBlock + v] >= limits[scale[b * kBlock + v] / 16].
  void (*select)(const std::uint16_t* sums, const std::uint8_t* scale, std::size_t blocks,
                 const std::uint16_t* limits, std::uint32_t* masks);

  // sums[i * d + j] += sum_r a[r][i] * b[r][j] for i in [first, last) and all j >= i (rounded
  // down to a multiple of 4); rows of a and b have d values, d a multiple of 4.
  void (*gram)(const double* a, const double* b, std::size_t rows, std::size_t d, std::size_t first,
               std::size_t last, double* sums);
};

const Kernels& scalar_kernels();
#if defined(WATERFILL_X86)
const Kernels& avx2_kernels();
const Kernels& avx512_kernels();
#endif

// The table in use; dispatch.hpp says which that is.
const Kernels& kernels();

}  // namespace waterfill
