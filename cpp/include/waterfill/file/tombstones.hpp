// The tombstones of a segment: which of its vectors are removed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace waterfill {

struct Tombstones {
  std::uint64_t segment = 0;          // number of its file
  std::uint64_t vectors = 0;          // of the segment, with those that are removed
  std::vector<std::uint32_t> labels;  // of removed vectors, ascending
  bool operator==(const Tombstones&) const = default;
};

// The bytes of a file. Throws InvalidArgument.
std::string tombstones_to_bytes(const Tombstones& tombstones);
// Throws FormatError.
Tombstones tombstones_from_bytes(const void* data, std::size_t size);

}  // namespace waterfill
