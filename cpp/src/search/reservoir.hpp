// The best of a stream of scores. A score is "the higher, the better" whatever the metric.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <functional>
#include <limits>
#include <utility>
#include <vector>

namespace waterfill {

// A score and a position as one number that sorts as they do: a higher score is greater, of equal
// scores that with the smaller position. Comparing two is one instruction without a branch.
class Candidate {
 public:
  Candidate() = default;
  Candidate(float score, std::uint32_t position)
      : key_(std::uint64_t{ordered(score)} << 32 | ~position) {}

  float score() const {
    const auto bits = static_cast<std::uint32_t>(key_ >> 32);
    return std::bit_cast<float>((bits & kSign) != 0 ? bits ^ kSign : ~bits);
  }
  std::uint32_t position() const { return ~static_cast<std::uint32_t>(key_); }

  friend bool operator>(Candidate a, Candidate b) { return a.key_ > b.key_; }

 private:
  static constexpr std::uint32_t kSign = 0x80000000u;

  static std::uint32_t ordered(float score) {
    const auto bits = std::bit_cast<std::uint32_t>(score + 0.0f);  // + 0: no negative zero
    return (bits & kSign) != 0 ? ~bits : bits | kSign;
  }

  std::uint64_t key_ = 0;
};

using Candidates = std::vector<Candidate>;

// Moves the best `n` of them to the front, the worst of these last and both parts in no order. A
// quickselect (Hoare 1961) whose partition has no branch that depends on the scores: on a few
// hundred candidates std::nth_element spends most of its time on mispredicted ones.
inline void part_best(Candidate* candidates, std::size_t size, std::size_t n) {
  if (size < n || n == 0) return;
  constexpr std::size_t kFew = 16;
  const auto at = [&](std::size_t i) { return candidates + i; };
  std::size_t begin = 0, end = size;  // the n-th best is among these
  for (int rounds = 0; end - begin > kFew && rounds < 64; ++rounds) {
    // The middle one of three: none is equal to another, so both sides get some.
    const Candidate a = *at(begin), b = *at(begin + (end - begin) / 2), c = *at(end - 1);
    const Candidate pivot = a > b ? (b > c ? b : a > c ? c : a) : (a > c ? a : b > c ? c : b);
    std::size_t front = begin;
    for (std::size_t i = begin; i < end; ++i) {
      const Candidate one = candidates[i];
      candidates[i] = candidates[front];
      candidates[front] = one;
      front += one > pivot ? 1 : 0;
    }
    (n - 1 < front ? end : begin) = front;
  }
  std::nth_element(at(begin), at(n - 1), at(end), std::greater<>());
}

// Leaves the best `n`, the worst of these last.
inline void keep_best(Candidates& candidates, std::size_t n) {
  if (candidates.size() <= n) n = candidates.size();
  part_best(candidates.data(), candidates.size(), n);
  candidates.erase(candidates.begin() + static_cast<std::ptrdiff_t>(n), candidates.end());
}

// The best `capacity`, without a heap in the inner loop: candidates that beat the threshold pile up
// in twice the room; when it is full the better half stays. Positions must come in ascending order
// for ties to be broken by the smaller one: one that equals the threshold is not even looked at.
class Reservoir {
 public:
  static constexpr std::size_t kBurst = 32;  // pushes between two calls of `trim`

  // threshold: what a score must exceed from the start.
  explicit Reservoir(std::size_t capacity,
                     float threshold = -std::numeric_limits<float>::infinity())
      : capacity_(capacity), threshold_(threshold), kept_(2 * capacity + kBurst) {}

  float threshold() const { return threshold_; }

  // Takes a score that beats the threshold, without a branch. At most kBurst, then `trim`.
  void push(float score, std::uint32_t position) {
    kept_[size_] = Candidate(score, position);
    size_ += score > threshold_ ? 1 : 0;
  }
  // Makes room if there is little. Returns whether the threshold rose.
  bool trim() {
    if (size_ < 2 * capacity_) return false;
    settle();
    return true;
  }

  // Raises the threshold as far as the candidates allow.
  void settle() {
    if (size_ < capacity_) return;
    part_best(kept_.data(), size_, capacity_);
    size_ = capacity_;
    threshold_ = kept_[size_ - 1].score();
  }

  Candidates take() {
    kept_.resize(size_);
    keep_best(kept_, capacity_);
    return std::move(kept_);
  }

 private:
  std::size_t capacity_, size_ = 0;
  float threshold_;
  Candidates kept_;  // the first size_ of them
};

}  // namespace waterfill
