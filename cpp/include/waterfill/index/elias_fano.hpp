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

#include "waterfill/core/prefetch.hpp"

namespace waterfill {

// A sequence in memory that somebody else owns, perhaps a mapped file. Reading is safe whatever the
// bytes are: a damaged sequence gives wrong numbers, but no access beyond its arrays.
class EliasFanoView {
 public:
  static constexpr std::size_t kSample = 64;

  EliasFanoView() = default;
  // low: size * low_bytes bytes. bits: words of them, at least one if size > 0. samples: one for
  // each kSample numbers, the last of them perhaps fewer.
  EliasFanoView(unsigned low_bytes, std::size_t size, const std::uint8_t* low,
                const std::uint64_t* bits, std::size_t words, const std::uint64_t* samples)
      : low_(low),
        bits_(bits),
        samples_(samples),
        size_(size),
        words_(words),
        low_bytes_(low_bytes) {}

  std::size_t size() const { return size_; }
  std::uint32_t operator[](std::size_t i) const;
  // Prefetches most of what operator[] reads.
  void prefetch(std::size_t i) const {
    prefetch_line(low_ + i * low_bytes_);
    prefetch_line(samples_ + i / kSample);
    // The ones are spread almost evenly.
    prefetch_line(bits_ + i * words_ / size_);
  }
  // The number of values below `value`.
  std::size_t count_below(std::uint32_t value) const;
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
  friend class EliasFano;
  static constexpr std::size_t kWord = 64;

  std::size_t position(std::size_t i) const;  // of the i-th one bit

  template <class Low>
  std::uint32_t value(std::size_t high, std::size_t i) const {
    Low low;
    std::memcpy(&low, low_ + i * sizeof(Low), sizeof(Low));
    return static_cast<std::uint32_t>(high << 8 * sizeof(Low) | low);
  }

  template <class Low, class Visit>
  void each_of(Visit& visit) const {
    for (std::size_t i = 0, word = 0; i < size_ && word < words_; ++word) {
      for (std::uint64_t bits = bits_[word]; bits != 0 && i < size_; bits &= bits - 1, ++i) {
        visit(value<Low>(word * kWord + static_cast<std::size_t>(std::countr_zero(bits)) - i, i));
      }
    }
  }

  const std::uint8_t* low_ = nullptr;
  const std::uint64_t* bits_ = nullptr;     // per value: zeros for the increment, then a one
  const std::uint64_t* samples_ = nullptr;  // positions of the ones 0, kSample, 2 kSample, ...
  std::size_t size_ = 0, words_ = 0;
  unsigned low_bytes_ = 1;
};

class EliasFano {
 public:
  EliasFano() = default;
  explicit EliasFano(unsigned low_bytes);  // 1 (the default) or 2

  unsigned low_bytes() const { return low_bytes_; }
  std::size_t size() const { return low_.size() >> (low_bytes_ - 1); }
  std::size_t bytes() const;
  // Valid until the next change.
  EliasFanoView view() const {
    return {low_bytes_, size(), low_.data(), bits_.data(), bits_.size(), samples_.data()};
  }
  // The arrays of the view, for files.
  const std::vector<std::uint8_t>& low() const { return low_; }
  const std::vector<std::uint64_t>& bits() const { return bits_; }
  const std::vector<std::uint64_t>& samples() const { return samples_; }

  // value: greater than all values so far.
  void push_back(std::uint32_t value);
  void truncate(std::size_t size);
  std::uint32_t operator[](std::size_t i) const { return view()[i]; }
  void prefetch(std::size_t i) const { view().prefetch(i); }
  std::size_t count_below(std::uint32_t value) const { return view().count_below(value); }
  template <class Visit>
  void each(Visit visit) const {
    view().each(visit);
  }

 private:
  static constexpr std::size_t kSample = EliasFanoView::kSample, kWord = EliasFanoView::kWord;

  std::vector<std::uint8_t> low_;
  std::vector<std::uint64_t> bits_, samples_;
  unsigned low_bytes_ = 1;
};

}  // namespace waterfill
