// Codecs and indexes as sections of a container.
#pragma once

#include <memory>
#include <string>

#include "waterfill/codec.hpp"
#include "waterfill/index.hpp"

namespace waterfill {

std::string codec_to_bytes(const Codec& codec);
std::shared_ptr<Codec> codec_from_bytes(const void* data, std::size_t size);

// std::system_error for what the file system says, FormatError for what the file holds.
void write_index(const IndexFlat& index, const std::string& path);
std::unique_ptr<IndexFlat> read_index(const std::string& path);

}  // namespace waterfill
