// Two containers in one input: a codec, and a segment that needs it.
#pragma once

#include "byte_edits.hpp"
#include "file/header.hpp"

namespace waterfill {

// The size of the first container if another one follows it, else 0.
inline std::size_t first_of_pair(const Bytes& input) {
  if (input.size() < sizeof(Header)) return 0;
  const auto size = load<Header>(input, 0).file_size;
  if (size < sizeof(Header) || size > input.size() || input.size() - size < sizeof(Header)) {
    return 0;
  }
  return load<Header>(input, size).magic == kMagic ? size : 0;
}

}  // namespace waterfill
