// float16 in integer arithmetic. Not for the files of an instruction set: inline functions have
// external linkage.
#pragma once

#include <bit>
#include <cstdint>

namespace waterfill {

inline constexpr float kHalfLimit = 65520;  // from here on a value is rounded to infinity

// Rounds to the nearest, to even of two. Not for NaN.
inline std::uint16_t to_half(float value) {
  constexpr std::uint32_t kSign = 0x80000000u, kInfinity = 0x7c00u;
  constexpr std::uint32_t kLeastNormal = (127u - 14u) << 23, kRebias = (127u - 15u) << 23;
  // Adding it leaves a denormal half's bits at the end of the sum, rounded.
  constexpr std::uint32_t kAlign = (127u - 15u + 23u - 10u + 1u) << 23;
  const auto all = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t bits = all & ~kSign;
  const float aligned = std::bit_cast<float>(bits) + std::bit_cast<float>(kAlign);
  const std::uint32_t small = std::bit_cast<std::uint32_t>(aligned) - kAlign;
  const std::uint32_t normal = (bits - kRebias + 0xfffu + (bits >> 13 & 1u)) >> 13;
  std::uint32_t half = bits < kLeastNormal ? small : normal;
  if (bits >= std::bit_cast<std::uint32_t>(kHalfLimit)) half = kInfinity;
  return static_cast<std::uint16_t>(half | (all & kSign) >> 16);
}

inline float from_half(std::uint16_t half) {
  constexpr std::uint32_t kInfinity = 0x7c00u;
  const std::uint32_t bits = half & 0x7fffu, sign = (half & 0x8000u) << 16;
  const float value = std::bit_cast<float>(bits << 13) * 0x1p112f;  // exact, also if denormal
  std::uint32_t result = std::bit_cast<std::uint32_t>(value);
  if (bits >= kInfinity) result |= 0x7f800000u;
  return std::bit_cast<float>(result | sign);
}

}  // namespace waterfill
