// The ids of vectors, by label.
//
// Ids equal the labels until a caller passes other ids or asks to keep them. From then on each
// vector has an explicit id of eight bytes.
#pragma once

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

class Ids {
 public:
  bool is_explicit() const { return explicit_; }
  std::size_t size() const { return size_; }
  std::size_t bytes() const { return values_.capacity() * sizeof(std::int64_t); }
  const std::int64_t* data() const { return values_.data(); }  // of explicit ids
  std::int64_t operator[](std::size_t label) const {
    return explicit_ ? values_[label] : static_cast<std::int64_t>(label);
  }

  // Makes ids explicit: vectors without an id keep their label as id.
  void keep();
  // The id of the next vector without an explicit one: its label, or, so that no id is given twice,
  // one more than the largest id.
  std::int64_t next() const { return next_; }
  // ids: n of them, or null for `next` and those that follow. Appends all of them or throws and
  // appends none.
  void append(std::size_t n, const std::int64_t* ids);
  // Removes the labels whose bit is set. Explicit ids stay with their vectors.
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
    explicit Lookup(const Ids& ids);
    // The last label with this id, or -1.
    std::int64_t last(std::int64_t id) const;

   private:
    const Ids& ids_;
    std::vector<std::uint32_t> order_;  // labels by id; empty if ids ascend with labels
  };

 private:
  void raise_next(const std::int64_t* ids, std::size_t n);

  bool explicit_ = false;
  std::size_t size_ = 0;
  std::int64_t next_ = 0;             // more than any id and at least the size
  std::vector<std::int64_t> values_;  // of explicit ids
};

}  // namespace waterfill
