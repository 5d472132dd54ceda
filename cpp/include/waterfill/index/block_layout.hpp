// The memory layout of codes: how a code is packed into blocks of 32 vectors, and back.
//
// A block interleaves the high nibbles of its vectors for the coarse scan. The low nibbles are
// stored row by row for the full score. No byte is stored twice.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "waterfill/core/aligned_vector.hpp"

namespace waterfill {

struct ByteRange {
  std::uint8_t least = 255, largest = 0;

  void include(std::uint8_t value) {
    least = std::min(least, value);
    largest = std::max(largest, value);
  }
  void include(const ByteRange& other) {
    least = std::min(least, other.least);
    largest = std::max(largest, other.largest);
  }
};

// Bytes of codes: of its own and aligned for the scan, or in memory that somebody else owns.
class CodeBytes {
 public:
  CodeBytes() = default;
  CodeBytes(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}
  CodeBytes(CodeBytes&&) = default;
  CodeBytes& operator=(CodeBytes&&) = default;

  const std::uint8_t* data() const { return data_; }
  std::size_t size() const { return size_; }
  std::size_t capacity() const { return own_.capacity(); }
  std::uint8_t operator[](std::size_t i) const { return data_[i]; }
  // The bytes of its own, to be written to.
  std::uint8_t* own() { return own_.data(); }
  // Grows by a sixteenth: doubling would cost an index half as much memory again.
  void resize(std::size_t size) {
    if (size > own_.capacity()) own_.reserve(size + (own_.empty() ? 0 : size / 16));
    own_.resize(size, 0);
    data_ = own_.data();
    size_ = size;
  }

 private:
  Aligned<std::uint8_t> own_;
  const std::uint8_t* data_ = nullptr;
  std::size_t size_ = 0;
};

// A contiguous part of a list.
//
// The scan reads the scale bytes of whole blocks: those of its own are padded, and a mapped file is
// followed by readable memory.
struct Segment {
  std::size_t size = 0;
  std::size_t first = 0;        // number of its first vector in the list
  std::size_t first_block = 0;  // number of its first block in the list
  CodeBytes high;               // blocks of layout.block_bytes()
  CodeBytes low;                // rows of layout.low_bytes()
  CodeBytes scale;              // one byte per vector
  CodeBytes extra;              // one byte per vector if the index keeps a second one
  ByteRange scales, extras;     // cover the bytes of all vectors, perhaps loosely

  // Extends the ranges by the vectors from `first` on.
  void extend_ranges(std::size_t first);
};

// Sizes of the layout for a number of groups.
class Layout {
 public:
  explicit Layout(std::size_t group_count)
      : groups(group_count), padded((group_count + 1) / 2 * 2) {}

  std::size_t groups;
  std::size_t padded;  // to an even number, since the scan takes two groups per step
  std::size_t block_bytes() const { return padded * 16; }
  std::size_t low_bytes() const { return padded / 2; }

  // Sizes the arrays for n vectors. The size changes last, so a failed allocation leaves the
  // segment valid.
  void resize(Segment& segment, std::size_t n, bool with_extra) const;
  // Writes a code of groups + 1 bytes as vector i of a segment.
  void pack(Segment& segment, std::size_t i, const std::uint8_t* code) const;
  // Reads the code of vector i.
  void unpack(const Segment& segment, std::size_t i, std::uint8_t* code) const;
  // Zeroes what the last block holds behind the last vector.
  void clear_padding(Segment& segment) const;
  // Whether that is zero, and a missing group as well.
  bool padding_is_zero(const Segment& segment) const;
  // Prefetches the code of vector i.
  void prefetch(const Segment& segment, std::size_t i) const;
};

}  // namespace waterfill
