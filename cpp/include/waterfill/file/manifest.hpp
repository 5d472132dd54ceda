// The manifest of a folder: its settings, and the files that its index consists of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "waterfill/core/types.hpp"
#include "waterfill/file/write_ahead_log.hpp"
#include "waterfill/index/refine_rows.hpp"

namespace waterfill {

struct ManifestCodec {
  std::uint64_t number = 0;  // of its file
  FingerprintPrefix fingerprint{};
  bool operator==(const ManifestCodec&) const = default;
};

// A segment file and, if any of its vectors is removed, the file that says which.
//
// The checksums are those of headers. As a header has the checksum of the section table, and the
// table those of all sections, they identify the contents of whole files.
struct ManifestSegment {
  std::uint64_t number = 0;  // of its file
  std::uint64_t vectors = 0;
  std::uint64_t bytes = 0;           // of its file
  std::uint64_t codec = 0;           // number of a codec of the manifest
  std::uint64_t tombstones = 0;      // number of the file of tombstones; 0 without
  std::uint64_t dead = 0;            // vectors that it removes
  std::uint32_t crc = 0;             // of the first 64 bytes of the segment file
  std::uint32_t tombstones_crc = 0;  // of the first 64 bytes of the other file; 0 without
  bool operator==(const ManifestSegment&) const = default;
};

struct FolderManifest {
  Metric metric = Metric::inner_product;
  std::uint32_t d = 0;
  std::uint64_t number = 0;             // of this manifest
  std::uint64_t log = 0;                // number of its log
  std::uint64_t next_file = 0;          // more than any number above and below
  std::int64_t next_id = 0;             // of the next vector without an explicit id
  std::uint32_t nprobe = 0;             // 0: all lists, as a flat index
  std::optional<double> target_recall;  // that nprobe follows
  std::optional<RowKind> row_kind;
  float k_factor = 1;                     // refine candidates per neighbor
  std::vector<ManifestCodec> codecs;      // by ascending number; the last codes new vectors
  std::vector<ManifestSegment> segments;  // in the order of insertion
  bool operator==(const FolderManifest&) const = default;
};

// Throws InvalidArgument.
std::string manifest_to_bytes(const FolderManifest& manifest);
// Throws FormatError.
FolderManifest manifest_from_bytes(const void* data, std::size_t size);

}  // namespace waterfill
