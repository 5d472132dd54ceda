// Prefetches of memory that will be read soon.
#pragma once

#include <cstddef>

namespace waterfill {

inline constexpr std::size_t kCacheLine = 64;  // bytes

// More lines can be under way to the second-level cache than to the first.
enum class CacheLevel { first, second };

// Prefetches the line of an address.
//
// The empty statement is for GCC, to which a function that only prefetches has no effect: where it
// sees the body it drops calls, and did so for refine rows, which then took twice the time.
template <CacheLevel kLevel = CacheLevel::first>
inline void prefetch_line(const void* address) {
  constexpr int kLocality = kLevel == CacheLevel::first ? 3 : 2;
  __builtin_prefetch(address, 0, kLocality);
  asm volatile("" : : "r"(address));
}

// Prefetches `size` bytes, line by line.
template <CacheLevel kLevel = CacheLevel::first>
inline void prefetch_bytes(const void* address, std::size_t size) {
  const auto* bytes = static_cast<const unsigned char*>(address);
  for (std::size_t at = 0; at < size; at += kCacheLine) prefetch_line<kLevel>(bytes + at);
}

}  // namespace waterfill
