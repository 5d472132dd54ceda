// The ids of vectors, by label.
//
// Ids equal the labels until a caller passes other ids or asks to keep them. From then on each
// vector has an explicit id of eight bytes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace waterfill {

using Bits = std::vector<std::uint64_t>;  // bit i % 64 of word i / 64

inline constexpr std::size_t kBitsPerWord = 64;

inline std::size_t words_for(std::size_t bits) {
  return (bits + kBitsPerWord - 1) / kBitsPerWord;
}
inline bool test_bit(const Bits& bits, std::size_t i) {
  return (bits[i / kBitsPerWord] >> i % kBitsPerWord & 1) != 0;
}
inline void set_bit(Bits& bits, std::size_t i) {
  bits[i / kBitsPerWord] |= std::uint64_t{1} << i % kBitsPerWord;
}

// Ids in memory that somebody else owns: those of a mapped file.
struct IdPart {
  std::size_t size = 0;
  std::int64_t first = 0;                // without `values`: the first of consecutive ids
  const std::int64_t* values = nullptr;  // by label
  const std::uint32_t* order = nullptr;  // labels by id and label; null if ids ascend with labels
  std::int64_t next = 0;                 // more than any of them
};

class Ids {
 public:
  bool is_explicit() const { return explicit_; }
  std::size_t size() const { return size_; }
  std::size_t bytes() const { return values_.capacity() * sizeof(std::int64_t); }
  // Of sections IDS and IDORDER: those of mapped files, and of a file with the own ids.
  std::size_t file_bytes() const;
  std::int64_t operator[](std::size_t label) const {
    if (!explicit_) return static_cast<std::int64_t>(label);
    return label >= mapped_ ? values_[label - mapped_] : of_part(label);
  }

  // Appends ids in memory that must outlive the object; there must be no own ids yet.
  void attach(const IdPart& part);
  // Makes ids explicit: vectors without an id keep their label as id.
  void keep();
  // The id of the next vector without an explicit one: its label, or, so that no id is given twice,
  // one more than the largest id.
  std::int64_t next() const { return next_; }
  // Where labels are not given as ids, these become explicit.
  void raise_next(std::int64_t next);
  // ids: n of them, or null for `next` and those that follow. Appends all of them or throws and
  // appends none.
  void append(std::size_t n, const std::int64_t* ids);
  // Removes the labels whose bit is set. Explicit ids stay with their vectors. Own ids only.
  void remove(const Bits& drop) noexcept;
  void clear() noexcept { restore({}); }

  // The state before appends, and its return.
  struct Checkpoint {
    std::size_t size = 0;
    bool is_explicit = false;
    std::int64_t next = 0;
  };
  Checkpoint checkpoint() const { return {size_, explicit_, next_}; }
  void restore(const Checkpoint& checkpoint) noexcept;

  // Finds labels by id. Ids may repeat.
  class Lookup {
   public:
    explicit Lookup(const Ids& ids) : ids_(ids) { update(); }
    // Takes in the ids that have been appended since.
    void update();
    // Calls visit(label) for the labels with this id, from the last to the first, until it returns
    // true.
    template <class Visit>
    void each(std::int64_t id, Visit visit) const {
      for (std::size_t run = ids_.parts_.size() + 1; run-- > 0;) {
        for (std::size_t i = upper_bound(run, id); i-- > 0;) {
          const std::size_t label = label_at(run, i);
          if (ids_[label] != id) break;
          if (visit(label)) return;
        }
      }
    }

   private:
    // A run is the ids of a part, or last, the own ones.
    std::size_t upper_bound(std::size_t run, std::int64_t id) const;
    std::size_t label_at(std::size_t run, std::size_t i) const;  // the i-th by id

    const Ids& ids_;
    std::vector<std::uint32_t> order_;  // of own ids; empty if they ascend
    std::size_t known_ = 0;             // own ids that have been taken in
  };

 private:
  struct Part {
    IdPart ids;
    std::size_t start = 0;  // its first label
  };

  std::int64_t of_part(std::size_t label) const;
  void raise_next(const std::int64_t* ids, std::size_t n);

  bool explicit_ = false;
  std::size_t size_ = 0;
  std::int64_t next_ = 0;             // more than any id and at least the size
  std::vector<std::int64_t> values_;  // of own explicit ids
  std::vector<Part> parts_;
  std::size_t mapped_ = 0;  // ids of parts
};

}  // namespace waterfill
