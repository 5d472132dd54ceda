#include "waterfill/core/parallel_copy.hpp"

#include <algorithm>
#include <cstring>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "waterfill/core/thread_pool.hpp"

namespace waterfill {
namespace {

// Copies bytes past the caches.
void stream_bytes(const std::uint8_t* source, std::uint8_t* target, std::size_t size) {
#if defined(__SSE2__)
  constexpr std::size_t kWidth = sizeof(__m128i), kTogether = 4 * kWidth;
  const std::size_t before =
      std::min(size, (kWidth - reinterpret_cast<std::uintptr_t>(target) % kWidth) % kWidth);
  std::memcpy(target, source, before);
  std::size_t at = before;
  for (; at + kTogether <= size; at += kTogether) {
    const auto* from = reinterpret_cast<const __m128i*>(source + at);
    auto* to = reinterpret_cast<__m128i*>(target + at);
    const __m128i a = _mm_loadu_si128(from), b = _mm_loadu_si128(from + 1);
    const __m128i c = _mm_loadu_si128(from + 2), d = _mm_loadu_si128(from + 3);
    _mm_stream_si128(to, a);
    _mm_stream_si128(to + 1, b);
    _mm_stream_si128(to + 2, c);
    _mm_stream_si128(to + 3, d);
  }
  _mm_sfence();
  std::memcpy(target + at, source + at, size - at);
#else
  std::memcpy(target, source, size);
#endif
}

}  // namespace

void copy_for_bus(const std::uint8_t* source, std::uint8_t* target, std::size_t size) {
  constexpr std::size_t kLeast = std::size_t{1} << 18;  // of a task
  const std::size_t tasks = std::clamp<std::size_t>(size / kLeast, 1, num_threads());
  parallel_for(tasks, [&](std::size_t i) {
    const std::size_t first = size * i / tasks, end = size * (i + 1) / tasks;
    stream_bytes(source + first, target + first, end - first);
  });
}

}  // namespace waterfill
