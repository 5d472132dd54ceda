// CRC-32C by the instruction of SSE4.2, which every processor with AVX2 has.
#include <nmmintrin.h>

#include "kernels.hpp"

namespace waterfill {

std::uint32_t sse42_crc32c(const void* data, std::size_t size, std::uint32_t crc) {
  const auto* bytes = static_cast<const unsigned char*>(data);
  std::uint64_t wide = crc;
  for (; size >= 8; size -= 8, bytes += 8) {
    std::uint64_t word;
    __builtin_memcpy(&word, bytes, sizeof word);
    wide = _mm_crc32_u64(wide, word);
  }
  crc = static_cast<std::uint32_t>(wide);
  for (; size > 0; --size, ++bytes) crc = _mm_crc32_u8(crc, *bytes);
  return crc;
}

}  // namespace waterfill
