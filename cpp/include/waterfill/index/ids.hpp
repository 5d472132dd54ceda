// Ids of vectors by label. They are the labels themselves until a caller gives others, or until
// they are kept: then each vector has its own for good, in eight bytes.
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
  bool given() const { return given_; }
  std::size_t size() const { return size_; }
  std::size_t bytes() const { return values_.capacity() * sizeof(std::int64_t); }
  const std::int64_t* data() const { return values_.data(); }  // where they are given
  std::int64_t operator[](std::size_t label) const {
    return given_ ? values_[label] : static_cast<std::int64_t>(label);
  }

  // From now on every vector has its own id: those without get their label.
  void keep();
  // ids: n of them, or null for the next labels. Either all are appended or none.
  void append(std::size_t n, const std::int64_t* ids);
  // Drops the labels whose bit is set; ids that were given stay with their vectors.
  void remove(const Bits& drop);
  // Leaves the first n, and forgets given ids where there were none.
  void truncate(std::size_t n, bool given);
  void clear() { truncate(0, false); }

  // Finds labels by id: all of them, ids may repeat.
  class Lookup {
   public:
    explicit Lookup(const Ids& ids);
    // The last label with this id, or -1.
    std::int64_t last(std::int64_t id) const;

   private:
    const Ids& ids_;
    std::vector<std::uint32_t> order_;  // labels by id; empty where ids ascend with labels
  };

 private:
  bool given_ = false;
  std::size_t size_ = 0;
  std::vector<std::int64_t> values_;  // where they are given
};

}  // namespace waterfill
