// Codec files: a codec as the sections of a container.
#pragma once

#include <memory>
#include <string>

#include "waterfill/codec/codec.hpp"

namespace waterfill {

std::string codec_to_bytes(const Codec& codec, bool with_manifest = true);
std::shared_ptr<Codec> codec_from_bytes(const void* data, std::size_t size);

}  // namespace waterfill
