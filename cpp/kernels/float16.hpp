// Conversion between float32 and float16 in integer arithmetic. Not for the files of an instruction
// set, since its inline functions have external linkage.
#pragma once

#include <bit>
#include <cstdint>

namespace waterfill {

inline constexpr float kFloat16Limit = 65520;  // the smallest value that rounds to infinity

// Rounds to nearest, ties to even. The value must not be NaN.
inline std::uint16_t to_float16(float value) {
  constexpr std::uint32_t kSign = 0x80000000u, kInfinity = 0x7c00u;
  constexpr std::uint32_t kLeastNormal = (127u - 14u) << 23, kRebias = (127u - 15u) << 23;
  // Adding this leaves the rounded bits of a denormal float16 at the end of the sum.
  constexpr std::uint32_t kAlign = (127u - 15u + 23u - 10u + 1u) << 23;
  const auto all = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t bits = all & ~kSign;
  const float aligned = std::bit_cast<float>(bits) + std::bit_cast<float>(kAlign);
  const std::uint32_t small = std::bit_cast<std::uint32_t>(aligned) - kAlign;
  const std::uint32_t normal = (bits - kRebias + 0xfffu + (bits >> 13 & 1u)) >> 13;
  std::uint32_t half = bits < kLeastNormal ? small : normal;
  if (bits >= std::bit_cast<std::uint32_t>(kFloat16Limit)) half = kInfinity;
  return static_cast<std::uint16_t>(half | (all & kSign) >> 16);
}

inline float from_float16(std::uint16_t half) {
  constexpr std::uint32_t kInfinity = 0x7c00u;
  const std::uint32_t bits = half & 0x7fffu, sign = (half & 0x8000u) << 16;
  const float value = std::bit_cast<float>(bits << 13) * 0x1p112f;  // exact, also for denormals
  std::uint32_t result = std::bit_cast<std::uint32_t>(value);
  if (bits >= kInfinity) result |= 0x7f800000u;
  return std::bit_cast<float>(result | sign);
}

}  // namespace waterfill
