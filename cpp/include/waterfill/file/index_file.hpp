// Index files: an index as the sections of a container.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "waterfill/file/byte_io.hpp"
#include "waterfill/index/index.hpp"

namespace waterfill {

// The settings that a file keeps with an index.
struct IndexSettings {
  bool inverted = false;  // whether searches scan nprobe lists only
  std::uint32_t nprobe = 0;
  std::optional<double> target_recall;  // that nprobe follows
  float k_factor = 1;                   // refine candidates per neighbor
  std::string quantizer;  // a serialized FAISS index that finds the lists; empty for none
};

struct StoredIndex {
  std::unique_ptr<Index> index;
  IndexSettings settings;
};

// Throw std::system_error for errors of the file system and FormatError for invalid contents.
// Borrowed refine rows are not written.
// To an open file; path: for messages.
void write_index(const Index& index, const IndexSettings& settings, FileHandle file,
                 const std::string& path);
StoredIndex read_index(const std::string& path);
// The same, but refine rows are used where they lie in the file; verify: after reading them once.
StoredIndex read_codes_and_map_rows(const std::string& path, bool verify);
std::string index_to_bytes(const Index& index, const IndexSettings& settings);
StoredIndex index_from_bytes(const void* data, std::size_t size);

}  // namespace waterfill
