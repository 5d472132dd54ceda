// Ascending numbers in little more than their information: a byte each for the low bits, and the
// steps of the rest as unary numbers in a row of bits (Elias 1974, Fano 1971). What an index that
// is stored cell by cell needs to know the order in which its vectors came: some 13 bits a vector
// with 1,024 cells, 10 bits with 256.
#pragma once

#include <cstdint>
#include <vector>

namespace waterfill {

class Ascending {
 public:
  std::size_t size() const { return low_.size(); }
  std::size_t bytes() const;
  // value: greater than all before.
  void push_back(std::uint32_t value);
  std::uint32_t operator[](std::size_t i) const;
  // The number of values below this one.
  std::size_t count_below(std::uint32_t value) const;
  void truncate(std::size_t size);
  // All values in order.
  template <class Visit>
  void each(Visit visit) const {
    for (std::size_t i = 0; i < size(); ++i) visit((*this)[i]);
  }

 private:
  static constexpr std::size_t kSample = 64;
  std::size_t position(std::size_t i) const;  // of the i-th one

  std::vector<std::uint8_t> low_;
  std::vector<std::uint64_t> bits_;     // for each value as many zeros as its high part grew, a one
  std::vector<std::uint64_t> samples_;  // positions of the ones 0, kSample, 2 kSample, ...
  std::size_t end_ = 0;                 // bits in use
};

}  // namespace waterfill
