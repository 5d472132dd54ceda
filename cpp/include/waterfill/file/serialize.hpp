// Codecs and indexes as sections of a container.
#pragma once

#include <memory>
#include <string>

#include "waterfill/codec/codec.hpp"
#include "waterfill/index/index.hpp"

namespace waterfill {

std::string codec_to_bytes(const Codec& codec, bool with_manifest = true);
std::shared_ptr<Codec> codec_from_bytes(const void* data, std::size_t size);

// What a file keeps of an index beside its vectors.
struct IndexSettings {
  bool inverted = false;  // searched in few of its lists
  std::uint32_t nprobe = 0;
  float k_factor = 1;     // where exact rows are kept
  std::string quantizer;  // of somebody else, in that one's own form; empty for none
};

struct StoredIndex {
  std::unique_ptr<Index> index;
  IndexSettings settings;
};

// std::system_error for what the file system says, FormatError for what the file holds. Borrowed
// rows are not written.
void write_index(const Index& index, const IndexSettings& settings, const std::string& path);
StoredIndex read_index(const std::string& path);
std::string index_to_bytes(const Index& index, const IndexSettings& settings);
StoredIndex index_from_bytes(const void* data, std::size_t size);

}  // namespace waterfill
