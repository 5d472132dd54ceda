// The codes of an index in inverted lists, in the layout that search reads.
//
// There is one list per cell, or a single list if there are no cells. A list holds its vectors in
// the order of insertion: first those of mapped parts, which never change, then its own, in
// segments of limited capacity, so growth never copies much.
//
// A vector has two numbers: its label, counted over all vectors in the order of insertion, and its
// slot, counted list by list. With one list they are equal.
//
// Vectors are removed in one of two ways. `remove` closes the gaps, which needs a store without
// mapped parts. `mark_removed` only marks them: they keep label and slot, and searches skip them.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "waterfill/index/block_layout.hpp"
#include "waterfill/index/code_part.hpp"
#include "waterfill/index/elias_fano.hpp"
#include "waterfill/index/ids.hpp"

namespace waterfill {

// The labels of a mapped segment: `base` plus the numbers of a sequence.
struct PartLabels {
  EliasFanoView sequence;
  std::uint32_t base = 0;
  std::uint32_t part = 0;       // number of the part
  std::uint32_t part_size = 0;  // a damaged sequence must not name vectors beyond it

  std::uint32_t operator[](std::size_t i) const { return label(sequence[i]); }
  std::uint32_t label(std::uint32_t number) const { return base + std::min(number, part_size - 1); }
};

struct List {
  explicit List(unsigned low_bytes) : labels(low_bytes) {}
  List(List&&) = default;
  List& operator=(List&&) = default;

  std::size_t size = 0;     // with removed vectors
  std::size_t removed = 0;  // that are marked
  std::size_t mapped = 0;   // vectors of mapped segments
  // Mapped ones, then own ones, all but the last of which are full.
  std::vector<Segment> segments;
  std::vector<PartLabels> parts;    // of mapped segments
  EliasFano labels;                 // of own vectors; empty if there is only one list
  std::vector<std::uint32_t> live;  // bits of vectors that are not removed, by block; empty: all

  std::size_t segment_of(std::size_t i) const {
    if (i >= mapped) return parts.size() + (i - mapped) / kCapacity;
    std::size_t s = parts.size() - 1;
    while (segments[s].first > i) --s;
    return s;
  }
  std::size_t blocks() const;
  // Marks the vector of a segment; returns whether that changed anything. There must be marks.
  bool set_live(const Segment& segment, std::size_t at, bool is_live) noexcept;

  static constexpr std::size_t kCapacity = 262144;  // vectors of an own segment
};

// Some of the parts of a store. Its own vectors count as one more part, behind the mapped ones.
struct PartRange {
  std::size_t first = 0, last = std::numeric_limits<std::size_t>::max();
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
  static constexpr std::size_t kCapacity = List::kCapacity;

  CodeStore(std::size_t groups, bool with_extra, std::size_t lists);

  const Layout& layout() const { return layout_; }
  bool with_extra() const { return with_extra_; }
  std::size_t size() const { return starts_.back(); }          // with removed vectors
  std::size_t live() const { return size() - removed_size_; }  // without
  std::size_t mapped() const { return mapped_; }               // vectors of mapped parts
  const Bits& removed() const { return removed_; }             // by label; empty for none
  bool is_removed(std::size_t label) const {
    return removed_size_ > 0 && label / kBitsPerWord < removed_.size() && test_bit(removed_, label);
  }
  const std::vector<List>& lists() const { return lists_; }
  std::size_t parts() const { return parts_.size() + 1; }
  bool lies_in(const PartRange& range, std::size_t list, std::size_t segment) const {
    const std::vector<PartLabels>& mapped = lists_[list].parts;
    const std::size_t part = segment < mapped.size() ? mapped[segment].part : parts_.size();
    return range.first <= part && part < range.last;
  }
  std::size_t start(std::size_t list) const { return starts_[list]; }  // the first slot
  // Vectors of a list that are not removed.
  std::size_t count(std::size_t list) const { return counts_[list]; }
  std::size_t bytes() const;
  std::vector<ListRange> ranges() const;  // of vectors that are not removed

  // Appends the vectors of a mapped part, which must outlive the store, to a store without vectors
  // of its own.
  void attach(const CodePart& part);

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

  std::size_t list_of(std::size_t slot) const;
  Location locate(std::size_t slot) const;
  std::uint32_t label(std::size_t list, std::size_t i) const;  // of the i-th vector of a list
  void prefetch_label(std::size_t list, std::size_t i) const;
  // Calls visit(i, label) for the vectors of a list, removed ones too.
  template <class Visit>
  void each_label(std::size_t list, Visit visit) const {
    const List& own = lists_[list];
    std::size_t i = 0;
    if (lists_.size() == 1) {
      for (; i < own.size; ++i) visit(i, static_cast<std::uint32_t>(i));
      return;
    }
    for (std::size_t s = 0; s < own.parts.size(); ++s) {
      i = own.segments[s].first;
      own.parts[s].sequence.each(
          [&](std::uint32_t number) { visit(i++, own.parts[s].label(number)); });
    }
    i = own.mapped;
    own.labels.each([&](std::uint32_t label) { visit(i++, label); });
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

  // Marks vectors as removed, by labels that ascend and are not marked yet, and returns their
  // slots. On an exception nothing changes.
  std::vector<std::uint32_t> mark_removed(const std::vector<std::uint32_t>& labels);
  void unmark_removed(const std::vector<std::uint32_t>& labels,
                      const std::vector<std::uint32_t>& slots) noexcept;

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
        Segment& segment = add_segment(list);
        layout_.resize(segment, std::min(kCapacity, list.size - done), with_extra_);
        fill(segment);
        segment.extend_ranges(0);
      }
    }
  }

 private:
  void assign_labels(std::size_t n, const std::uint16_t* lists);
  static Segment& add_segment(List& list);
  void resize(List& list, std::size_t n) const;
  void update_starts();
  void move(List& list, std::size_t from, std::size_t to, std::uint8_t* code) const noexcept;
  void set_removed(const std::vector<std::uint32_t>& labels,
                   const std::vector<std::uint32_t>& slots, bool removed) noexcept;
  void tighten(const List& list, Segment& segment, std::size_t at, bool removed) const noexcept;
  std::size_t list_of_mapped(std::uint32_t label, const CodePart& part, std::size_t base) const;

  Layout layout_;
  bool with_extra_;
  std::vector<List> lists_;
  std::vector<std::size_t> starts_;  // first slot of each list, and the number of slots
  std::vector<std::uint32_t> counts_;
  std::vector<CodePart> parts_;
  std::vector<std::size_t> part_starts_;  // first label of each part, and of own vectors
  std::size_t mapped_ = 0;
  Bits removed_;
  std::size_t removed_size_ = 0;
};

}  // namespace waterfill
