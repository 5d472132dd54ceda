#include "file/header.hpp"

#include <algorithm>
#include <cstddef>
#include <string>

#include "waterfill/core/types.hpp"

namespace waterfill {
namespace {

const char* kind_name(std::uint32_t kind) {
  switch (static_cast<FileKind>(kind)) {
    case FileKind::codec:
      return "a codec";
    case FileKind::flat_index:
      return "a flat index";
    case FileKind::ivf_index:
      return "an IVF index";
    case FileKind::segment:
      return "a segment of a folder";
    case FileKind::folder_manifest:
      return "the manifest of a folder";
    case FileKind::tombstones:
      return "tombstones";
    case FileKind::graph_index:
      return "a graph index";
  }
  return "an object of unknown kind";
}

void check_kind(std::uint32_t kind, const std::vector<FileKind>& expected_kinds) {
  std::string names;
  for (const FileKind expected : expected_kinds) {
    const auto number = static_cast<std::uint32_t>(expected);
    if (number == kind) return;
    names += (names.empty() ? "" : " or ") + std::string(kind_name(number));
  }
  throw FormatError(std::string("holds ") + kind_name(kind) + ", expected " + names);
}

}  // namespace

Header read_header(const Source& source, const std::vector<FileKind>& expected_kinds) {
  Header header;
  if (source.size() < sizeof header) {
    throw FormatError("not a waterfill file: " + std::to_string(source.size()) +
                      " bytes are fewer than a header has");
  }
  source.read(0, &header, sizeof header);
  if (header.magic != kMagic) throw FormatError("not a waterfill file: the first bytes differ");
  if (header.header_crc != crc32c(&header, offsetof(Header, header_crc))) {
    throw FormatError("damaged: the checksum of the header does not match");
  }
  if (header.major != kMajor) {
    throw FormatError("format version " + std::to_string(header.major) + "." +
                      std::to_string(header.minor) + " is not known to this release, which reads " +
                      std::to_string(kMajor) + ".x");
  }
  const auto& reserved = header.reserved;
  if (std::any_of(reserved.begin(), reserved.end(), [](std::uint8_t byte) { return byte != 0; })) {
    throw FormatError("damaged: a reserved byte of the header is not zero");
  }
  if (header.file_size != source.size()) {
    throw FormatError("damaged: the file has " + std::to_string(source.size()) +
                      " bytes, but its header says " + std::to_string(header.file_size));
  }
  check_kind(header.kind, expected_kinds);
  if (header.sections > kMaxSections ||
      sizeof header + header.sections * sizeof(TableEntry) > source.size()) {
    throw FormatError("damaged: the section table does not fit");
  }
  return header;
}

}  // namespace waterfill
