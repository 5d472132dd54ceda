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

  std::uint64_t key_;
};

using Candidates = std::vector<Candidate>;

// Moves the best `n` of them to the front, the worst of these last and both parts in no order. A
// quickselect (Hoare 1961) whose partition has no branch that depends on the scores: on a few
// hundred candidates std::nth_element spends most of its time on mispredicted ones.
inline void part_best(Candidates& candidates, std::size_t n) {
  if (candidates.size() < n || n == 0) return;
  constexpr std::size_t kFew = 16;
  const auto at = [&](std::size_t i) {
    return candidates.begin() + static_cast<std::ptrdiff_t>(i);
  };
  std::size_t begin = 0, end = candidates.size();  // the n-th best is among these
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
  part_best(candidates, n);
  candidates.erase(candidates.begin() + static_cast<std::ptrdiff_t>(n), candidates.end());
}

// The best `capacity`, without a heap in the inner loop: candidates that beat the threshold pile up
// in twice the room; when it is full the better half stays. Positions must come in ascending order
// for ties to be broken by the smaller one: one that equals the threshold is not even looked at.
class Reservoir {
 public:
  // threshold: what a score must exceed from the start.
  explicit Reservoir(std::size_t capacity,
                     float threshold = -std::numeric_limits<float>::infinity())
      : capacity_(capacity), threshold_(threshold) {
    kept_.reserve(2 * capacity);
  }

  float threshold() const { return threshold_; }

  // Returns whether the threshold rose.
  bool offer(float score, std::uint32_t position) {
    kept_.emplace_back(score, position);
    if (kept_.size() < 2 * capacity_) return false;
    keep_best(kept_, capacity_);
    threshold_ = kept_.back().score();
    return true;
  }

  // Raises the threshold as far as the candidates allow.
  void settle() {
    if (kept_.size() < capacity_) return;
    keep_best(kept_, capacity_);
    threshold_ = kept_.back().score();
  }

  Candidates take() {
    keep_best(kept_, capacity_);
    return std::move(kept_);
  }

 private:
  std::size_t capacity_;
  Candidates kept_;
  float threshold_;
};

}  // namespace waterfill
