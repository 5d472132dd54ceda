// Ascending numbers in little more than their information: a byte or two each for the low bits, and
// the steps of the rest as unary numbers in a row of bits (Elias 1974, Fano 1971). What an index
// that is stored cell by cell needs to know the order in which its vectors came: some 13 bits a
// vector with 1,024 cells, 10 bits with 256.
//
// The row of bits has a bit for each value and one for each step of the high part: with a byte of
// low bits, of 256 numbers. Two bytes pay where values are more than some 2,000 apart, that is,
// with more cells than that.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace waterfill {

class Ascending {
 public:
  Ascending() = default;
  explicit Ascending(unsigned low_bytes);  // 1, as by default, or 2

  unsigned low_bytes() const { return low_bytes_; }
  std::size_t size() const { return low_.size() >> (low_bytes_ - 1); }
  std::size_t bytes() const;
  // value: greater than all before.
  void push_back(std::uint32_t value);
  std::uint32_t operator[](std::size_t i) const;
  // The number of values below this one.
  std::size_t count_below(std::uint32_t value) const;
  void truncate(std::size_t size);
  // visit(std::uint32_t value) for all, in order: much faster than one by one.
  template <class Visit>
  void each(Visit visit) const {
    if (low_bytes_ == 1) {
      each_of<std::uint8_t>(visit);
    } else {
      each_of<std::uint16_t>(visit);
    }
  }

 private:
  static constexpr std::size_t kSample = 64, kWord = 64;

  std::size_t position(std::size_t i) const;  // of the i-th one

  template <class Low>
  std::uint32_t value(std::size_t high, std::size_t i) const {
    Low low;
    std::memcpy(&low, low_.data() + i * sizeof(Low), sizeof(Low));
    return static_cast<std::uint32_t>(high << 8 * sizeof(Low) | low);
  }

  template <class Low, class Visit>
  void each_of(Visit& visit) const {
    const std::size_t n = size();
    for (std::size_t i = 0, word = 0; i < n; ++word) {
      for (std::uint64_t bits = bits_[word]; bits != 0; bits &= bits - 1, ++i) {
        visit(value<Low>(word * kWord + static_cast<std::size_t>(std::countr_zero(bits)) - i, i));
      }
    }
  }

  std::vector<std::uint8_t> low_;
  std::vector<std::uint64_t> bits_;     // for each value as many zeros as its high part grew, a one
  std::vector<std::uint64_t> samples_;  // positions of the ones 0, kSample, 2 kSample, ...
  unsigned low_bytes_ = 1;
};

}  // namespace waterfill
