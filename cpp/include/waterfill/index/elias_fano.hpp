// An ascending sequence of 32-bit numbers in Elias-Fano coding (Elias 1974, Fano 1971): one or two
// bytes per number for the low bits, and the increments of the high bits in unary.
//
// It holds the labels of an index that is stored list by list, in about 13 bits per vector with
// 1,024 lists and 10 bits with 256.
//
// The unary part has one bit per number plus one bit per increment of the high part, that is, per
// 256 numbers with one low byte. Two low bytes are smaller if numbers are more than about 2,000
// apart, that is, with more than 2,000 lists.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace waterfill {

class EliasFano {
 public:
  EliasFano() = default;
  explicit EliasFano(unsigned low_bytes);  // 1 (the default) or 2

  unsigned low_bytes() const { return low_bytes_; }
  std::size_t size() const { return low_.size() >> (low_bytes_ - 1); }
  std::size_t bytes() const;
  // value: greater than all values so far.
  void push_back(std::uint32_t value);
  std::uint32_t operator[](std::size_t i) const;
  // Prefetches most of what operator[] reads.
  void prefetch(std::size_t i) const {
    __builtin_prefetch(low_.data() + i * low_bytes_);
    __builtin_prefetch(samples_.data() + i / kSample);
    // The ones are spread almost evenly.
    __builtin_prefetch(bits_.data() + i * bits_.size() / size());
  }
  // The number of values below `value`.
  std::size_t count_below(std::uint32_t value) const;
  void truncate(std::size_t size);
  // Calls visit(std::uint32_t value) for all values in order. Much faster than operator[].
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

  std::size_t position(std::size_t i) const;  // of the i-th one bit

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
  std::vector<std::uint64_t> bits_;     // per value: zeros for the increment, then a one
  std::vector<std::uint64_t> samples_;  // positions of the ones 0, kSample, 2 kSample, ...
  unsigned low_bytes_ = 1;
};

}  // namespace waterfill
