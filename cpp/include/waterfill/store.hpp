// Codes in the layout that search reads: blocks of 32 vectors with the high nibbles interleaved
// for the coarse scan, the low nibbles row by row for the full score. No byte is stored twice.
//
// Vectors live in segments of a fixed capacity, so growing never copies the whole index.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "waterfill/types.hpp"

namespace waterfill {

// Sizes of the layout for a number of groups.
struct Layout {
  explicit Layout(std::size_t group_count)
      : groups(group_count), padded((group_count + 1) / 2 * 2) {}

  std::size_t groups;
  std::size_t padded;  // even: the scan takes two groups a step
  std::size_t block_bytes() const { return padded * 16; }
  std::size_t low_bytes() const { return padded / 2; }
};

struct Segment {
  std::size_t size = 0;
  std::vector<std::uint8_t> high;   // blocks of layout.block_bytes()
  std::vector<std::uint8_t> low;    // rows of layout.low_bytes()
  std::vector<std::uint8_t> scale;  // a byte a vector, filled up to whole blocks
  std::vector<std::uint8_t> extra;  // a byte a vector, where the index keeps a second one
  std::uint8_t least_extra = 255, largest_extra = 0;

  void note_extra(std::size_t first) {
    for (std::size_t i = first; i < extra.size(); ++i) {
      least_extra = std::min(least_extra, extra[i]);
      largest_extra = std::max(largest_extra, extra[i]);
    }
  }
};

class CodeStore {
 public:
  static constexpr std::size_t kCapacity = 65536;  // vectors of a segment

  CodeStore(std::size_t groups, bool with_extra) : layout_(groups), with_extra_(with_extra) {}

  const Layout& layout() const { return layout_; }
  std::size_t size() const { return size_; }
  const std::vector<Segment>& segments() const { return segments_; }

  // codes: rows of groups + 1 bytes; extra: n bytes or null. All or nothing.
  void append(const std::uint8_t* codes, const std::uint8_t* extra, std::size_t n);
  // One code, groups + 1 bytes.
  void read(std::size_t i, std::uint8_t* code) const;
  std::uint8_t extra(std::size_t i) const;
  // The least and the largest second byte, or a range around them; there must be vectors.
  std::pair<std::uint8_t, std::uint8_t> extra_range() const;
  // Starts to bring a code near.
  void prefetch(std::size_t i) const;
  // Drops the vectors whose flag is set; the others keep their order.
  void remove(const std::vector<bool>& drop);
  void clear();

  // Gives `fill` each segment's arrays, sized for its share of n vectors: how a file is read.
  template <class Fill>
  void load(std::size_t n, Fill fill) {
    clear();
    while (size_ < n) {
      Segment& segment = segments_.emplace_back();
      resize(segment, std::min(kCapacity, n - size_));
      fill(segment, size_);
      segment.note_extra(0);
      size_ += segment.size;
    }
  }

 private:
  void resize(Segment& segment, std::size_t n) const;
  void write_high(Segment& segment, std::size_t i, const std::uint8_t* code) const;
  void write(Segment& segment, std::size_t i, const std::uint8_t* code) const;

  Layout layout_;
  bool with_extra_;
  std::size_t size_ = 0;
  std::vector<Segment> segments_;
};

}  // namespace waterfill
