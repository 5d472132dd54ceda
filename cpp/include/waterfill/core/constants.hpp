// Sizes and numbers that the layout of codes and the arithmetic of all kernels depend on. The CUDA
// kernels read this file too, compiled by NVRTC, which has no standard headers.
#pragma once

#if defined(__CUDACC_RTC__)
namespace std {
using size_t = decltype(sizeof 0);
using int8_t = signed char;
using uint8_t = unsigned char;
using int16_t = short;
using uint16_t = unsigned short;
using int32_t = int;
using uint32_t = unsigned int;
using int64_t = long long;
using uint64_t = unsigned long long;
}  // namespace std
#else
#include <cstddef>
#include <cstdint>
#endif

namespace waterfill {

inline constexpr std::size_t kPanel = 16;       // columns per panel of a packed matrix
inline constexpr std::size_t kParts = 16;       // partial sums of a row's squares
inline constexpr std::size_t kBlock = 32;       // vectors per block, with interleaved nibbles
inline constexpr std::size_t kCentroids = 256;  // values of a code byte
inline constexpr int kScoreUnit = 256;     // scores are multiples; the centroid's number is below
inline constexpr std::size_t kCells = 16;  // values of a high nibble
inline constexpr std::size_t kPairBytes = 32;                    // bytes of two groups in a block
inline constexpr float kOffsetMiddle = 128, kOffsetRange = 127;  // of the second byte of L2
inline constexpr float kLargestFloat = 3.402823466e+38F;         // of finite ones
inline constexpr std::size_t kRowLanes = 32;                     // partial sums of a row score
inline constexpr int kFixedOne = 32767;                          // one in fixed point

// Rows are quantized to 7 bits, made positive by the offset, so that the sum of two products with
// 8 bits fits 16 bits.
inline constexpr int kRowOffset = 64, kRowMask = 127;
inline constexpr float kLargestRowValue = 63, kLargestMatrixValue = 127;

// Training. Sums over rows are integers: of 2048 rows they fit 32 bits.
inline constexpr int kSummandBits = 19;           // of a coordinate, without the sign
inline constexpr std::uint32_t kSeedBins = 1024;  // of a histogram that seeds are chosen from

}  // namespace waterfill
