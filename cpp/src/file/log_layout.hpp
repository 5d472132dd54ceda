// The header and the records of a write-ahead log as they lie in the file.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "waterfill/core/types.hpp"
#include "waterfill/file/write_ahead_log.hpp"

namespace waterfill {

static_assert(std::endian::native == std::endian::little,
              "files are written as memory is laid out");

inline constexpr std::array<std::uint8_t, 8> kLogMagic{0x89, 'W', 'F', 'A', '\r', '\n', 0x1a, '\n'};
inline constexpr std::uint16_t kLogMajor = 1, kLogMinor = 0;
inline constexpr std::size_t kSectorBytes = 512;  // what a disk writes as a whole

// Bounds of what an index can have: 2 d groups, the scale byte and the number of the cell; float32
// rows. With them the size of a record fits 64 bits.
inline constexpr std::uint32_t kMaxCodeSize = 2 * kMaxDimensions + 3;
inline constexpr std::uint32_t kMaxRowBytes = kMaxDimensions * sizeof(float);

struct LogFileHeader {
  std::array<std::uint8_t, 8> magic;
  std::uint16_t major, minor;
  std::uint32_t code_size, row_bytes, reserved;
  std::uint64_t number;
  FingerprintPrefix fingerprint;
  std::array<std::uint8_t, 12> padding;
  std::uint32_t crc;  // of the preceding 60 bytes
};
static_assert(sizeof(LogFileHeader) == kLogHeaderBytes);

struct LogRecordHeader {
  std::uint32_t kind, n;
  std::uint64_t sequence, payload;  // payload: its size
  std::uint32_t payload_crc;
  std::uint32_t crc;  // of the preceding 28 bytes
};
static_assert(sizeof(LogRecordHeader) == 32);

// The last bytes of a record. None is zero, so a record that ends in zeros is incomplete.
using LogEndMark = std::array<std::uint8_t, 4>;
inline constexpr LogEndMark kLogEndMark{'E', 'N', 'D', '\n'};

inline std::uint64_t payload_bytes(LogKind kind, std::uint64_t n, std::uint32_t code_size,
                                   std::uint32_t row_bytes) {
  const std::uint64_t contents = kind == LogKind::remove ? 0 : std::uint64_t{code_size} + row_bytes;
  return n * (sizeof(std::int64_t) + contents);
}

}  // namespace waterfill
