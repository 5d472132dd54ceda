// CRC-32C by the instruction of ARMv8.1, which most ARMv8.0 processors have, too.
#include <arm_acle.h>
#if defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include "kernels.hpp"

namespace waterfill {
namespace {

std::uint32_t by_instruction(const void* data, std::size_t size, std::uint32_t crc) {
  const auto* bytes = static_cast<const unsigned char*>(data);
  for (; size >= 8; size -= 8, bytes += 8) {
    std::uint64_t word;
    __builtin_memcpy(&word, bytes, sizeof word);
    crc = __crc32cd(crc, word);
  }
  for (; size > 0; --size, ++bytes) crc = __crc32cb(crc, *bytes);
  return crc;
}

bool has_instruction() {
#if defined(__linux__)
  return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;
#elif defined(__APPLE__)
  return true;  // of every 64-bit ARM that Apple builds computers with
#else
  return false;
#endif
}

}  // namespace

CrcKernel arm_crc32c() {
  return has_instruction() ? by_instruction : scalar_crc32c;
}

}  // namespace waterfill
