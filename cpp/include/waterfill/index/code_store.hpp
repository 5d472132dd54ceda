// The codes of an index in inverted lists, in the layout that search reads.
//
// There is one list per cell, or a single list if there are no cells. A list holds its vectors in
// the order of insertion, in segments of limited capacity, so growth never copies much.
//
// A vector has two numbers: its label, counted over all vectors in the order of insertion, and its
// slot, counted list by list. With one list they are equal.
#pragma once

#include <cstdint>
#include <vector>

#include "waterfill/index/block_layout.hpp"
#include "waterfill/index/elias_fano.hpp"
#include "waterfill/index/ids.hpp"

namespace waterfill {

struct List {
  explicit List(unsigned low_bytes) : labels(low_bytes) {}

  std::size_t size = 0;
  std::vector<Segment> segments;  // all but the last are full
  EliasFano labels;               // empty if there is only one list: labels equal slots
};

// What bounds the scores of a list: its size, and the bytes of all its vectors.
struct ListRange {
  std::size_t size = 0;
  ByteRange scales, extras;
};

// Where the vector of a slot is stored.
struct Location {
  std::size_t list;
  const Segment* segment;
  std::size_t at;
};

class CodeStore {
 public:
  static constexpr std::size_t kCapacity = 262144;  // vectors per segment

  CodeStore(std::size_t groups, bool with_extra, std::size_t lists);

  const Layout& layout() const { return layout_; }
  std::size_t size() const { return starts_.back(); }
  const std::vector<List>& lists() const { return lists_; }
  std::size_t start(std::size_t list) const { return starts_[list]; }  // the first slot
  std::size_t bytes() const;
  std::vector<ListRange> ranges() const;

  // Codes to append: n rows of groups + 1 bytes, `stride` apart; their lists, or null if there is
  // only one; their second bytes, or null.
  struct Codes {
    const std::uint8_t* rows;
    std::size_t stride, n;
    const std::uint16_t* lists;
    const std::uint8_t* extra;
  };
  // If this throws, the caller must restore a checkpoint.
  void append(const Codes& codes);

  // The state of a store before an append.
  struct ListState {
    std::uint32_t size;
    ByteRange scales, extras;  // of the last segment
  };
  using Checkpoint = std::vector<ListState>;
  Checkpoint checkpoint() const;
  // Undoes all appends since the checkpoint, complete or not. Allocates no memory.
  void restore(const Checkpoint& checkpoint) noexcept;

  Location locate(std::size_t slot) const;
  // The same for ascending slots, from the list of the previous slot on (0 at first).
  Location locate_from(std::size_t list, std::size_t slot) const;
  std::uint32_t label(std::size_t list, std::size_t i) const;  // of the i-th vector of a list
  void prefetch_label(std::size_t list, std::size_t i) const {
    if (lists_.size() > 1) lists_[list].labels.prefetch(i);
  }
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
  // Slots of some labels, which ascend and may repeat.
  std::vector<std::uint32_t> slots(const std::vector<std::uint32_t>& labels) const;

  // Reads one code of groups + 1 bytes.
  void read(const Location& location, std::uint8_t* code) const {
    layout_.unpack(*location.segment, location.at, code);
  }
  void prefetch(const Location& location) const {
    layout_.prefetch(*location.segment, location.at);
  }
  // A removal that has been prepared: all that can fail has been done.
  struct Removal {
    Bits drop;
    struct Kept {
      explicit Kept(unsigned low_bytes) : labels(low_bytes) {}
      EliasFano labels;
      std::vector<ListRange> segments;
    };
    std::vector<Kept> lists;
    std::vector<std::uint8_t> code;  // room for one

    std::vector<ListRange> ranges() const;
  };
  // drop: the vectors to remove, by label. The others keep their order.
  Removal prepare_removal(Bits drop) const;
  void remove(Removal&& removal) noexcept;

  // Fills an empty store from a file. lists: of n vectors by label, or null if there is only one;
  // fill(Segment&) fills the arrays of each segment, in the order of slots.
  template <class Fill>
  void load(std::size_t n, const std::uint16_t* lists, Fill fill) {
    assign_labels(n, lists);
    for (List& list : lists_) {
      for (std::size_t done = 0; done < list.size; done += kCapacity) {
        Segment& segment = list.segments.emplace_back();
        layout_.resize(segment, std::min(kCapacity, list.size - done), with_extra_);
        fill(segment);
        segment.extend_ranges(0);
      }
    }
  }

 private:
  void assign_labels(std::size_t n, const std::uint16_t* lists);
  void resize(List& list, std::size_t n) const;
  void update_starts();
  void move(List& list, std::size_t from, std::size_t to, std::uint8_t* code) const noexcept;

  Layout layout_;
  bool with_extra_;
  std::vector<List> lists_;
  std::vector<std::size_t> starts_;  // first slot of each list, and the number of slots
};

}  // namespace waterfill
