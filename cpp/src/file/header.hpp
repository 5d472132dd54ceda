// The header and the section table of a file, and the check of a header.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <vector>

#include "waterfill/file/container.hpp"

namespace waterfill {

static_assert(std::endian::native == std::endian::little,
              "files are written as memory is laid out");

inline constexpr std::array<std::uint8_t, 8> kMagic{0x89, 'W', 'F', 'L', '\r', '\n', 0x1a, '\n'};
inline constexpr std::uint16_t kMajor = 1, kMinor = 7;  // of the format version
inline constexpr std::uint32_t kMaxSections = 1024;
inline constexpr std::uint32_t kOptional = 1;  // flag: readers may skip an unknown section

struct Header {
  std::array<std::uint8_t, 8> magic;
  std::uint16_t major, minor;
  std::uint32_t kind;
  std::uint64_t file_size;
  std::uint32_t sections, table_crc;
  std::array<std::uint8_t, 28> reserved;
  std::uint32_t header_crc;  // of the preceding 60 bytes
};
static_assert(sizeof(Header) == 64);

struct TableEntry {
  std::array<char, 8> tag;
  std::uint64_t offset, size;
  std::uint32_t crc, flags;
};
static_assert(sizeof(TableEntry) == 32);

// The header of a source. Throws FormatError unless it is valid, of a known major version, and of
// one of the expected kinds.
Header read_header(const Source& source, const std::vector<FileKind>& expected_kinds);

}  // namespace waterfill
