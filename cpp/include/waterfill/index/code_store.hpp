// Codes in the layout that search reads: blocks of 32 vectors with the high nibbles interleaved
// for the coarse scan, the low nibbles row by row for the full score. No byte is stored twice.
//
// Vectors stand in lists, one for each cell (one in all where there are none), in the order in
// which they came. Lists have segments of a limited capacity, so growing never copies much.
//
// A vector has two numbers: its label, counted over all in the order in which they came, and its
// slot, counted list by list. With one list they are the same.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "waterfill/core/aligned_vector.hpp"
#include "waterfill/core/types.hpp"
#include "waterfill/index/elias_fano.hpp"
#include "waterfill/index/ids.hpp"

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

struct Segment {
  std::size_t size = 0;
  Aligned<std::uint8_t> high;       // blocks of layout.block_bytes()
  Aligned<std::uint8_t> low;        // rows of layout.low_bytes()
  std::vector<std::uint8_t> scale;  // a byte a vector, filled up to whole blocks
  std::vector<std::uint8_t> extra;  // a byte a vector, where the index keeps a second one
  ByteRange scales, extras;         // that there are, or ranges around them

  void note(std::size_t first);
};

struct List {
  explicit List(unsigned low_bytes) : labels(low_bytes) {}

  std::size_t size = 0;
  std::vector<Segment> segments;  // all but the last are full
  Ascending labels;               // empty where there is one list: slots are labels

  ByteRange scales() const;
  ByteRange extras() const;
};

// Where a slot is.
struct Place {
  std::size_t list;
  const Segment* segment;
  std::size_t at;
};

class CodeStore {
 public:
  static constexpr std::size_t kCapacity = 262144;  // vectors of a segment

  CodeStore(std::size_t groups, bool with_extra, std::size_t lists);

  const Layout& layout() const { return layout_; }
  std::size_t size() const { return starts_.back(); }
  const std::vector<List>& lists() const { return lists_; }
  std::size_t start(std::size_t list) const { return starts_[list]; }  // its first slot
  std::size_t bytes() const;

  // What is to be appended: rows of groups + 1 bytes, `stride` apart; their lists, or null for the
  // first; their second bytes, or null.
  struct Codes {
    const std::uint8_t* rows;
    std::size_t stride, n;
    const std::uint16_t* lists;
    const std::uint8_t* extra;
  };
  // All or nothing.
  void append(const Codes& codes);

  Place locate(std::size_t slot) const;
  // The same for ascending slots: from the list of the one before, 0 at first.
  Place locate_from(std::size_t list, std::size_t slot) const;
  std::uint32_t label(std::size_t list, std::size_t i) const;  // of the list's i-th vector
  // Calls visit(i, label) for the vectors of a list.
  template <class Visit>
  void each_label(std::size_t list, Visit visit) const {
    std::size_t i = 0;
    if (lists_.size() == 1) {
      for (; i < lists_[list].size; ++i) visit(i, static_cast<std::uint32_t>(i));
    } else {
      lists_[list].labels.each([&](std::uint32_t label) { visit(i++, label); });
    }
  }
  // Slots of the labels [first, first + n).
  std::vector<std::uint32_t> slots(std::size_t first, std::size_t n) const;

  // One code, groups + 1 bytes.
  void read(const Place& place, std::uint8_t* code) const;
  // Starts to bring a code near.
  void prefetch(const Place& place) const;
  // Drops the vectors whose label is set in a row of bits; the others keep their order.
  void remove(const Bits& drop);
  void clear();

  // Fills an empty store: how a file is read. lists: of n vectors by label, or null for the first;
  // `fill` is given each segment's arrays in the order of slots.
  template <class Fill>
  void load(std::size_t n, const std::uint16_t* lists, Fill fill) {
    number(n, lists);
    for (List& list : lists_) {
      for (std::size_t done = 0; done < list.size; done += kCapacity) {
        Segment& segment = list.segments.emplace_back();
        resize(segment, std::min(kCapacity, list.size - done));
        fill(segment);
        segment.note(0);
      }
    }
  }

 private:
  void number(std::size_t n, const std::uint16_t* lists);
  void resize(Segment& segment, std::size_t n) const;
  void resize(List& list, std::size_t n) const;
  void shrink_back(const std::vector<std::size_t>& sizes);
  void count_starts();
  void write_high(Segment& segment, std::size_t i, const std::uint8_t* code) const;
  void write(Segment& segment, std::size_t i, const std::uint8_t* code) const;
  void move(List& list, std::size_t from, std::size_t to) const;
  void cut(List& list, std::size_t n) const;

  Layout layout_;
  bool with_extra_;
  std::vector<List> lists_;
  std::vector<std::size_t> starts_;  // of the lists, and the end
};

}  // namespace waterfill
