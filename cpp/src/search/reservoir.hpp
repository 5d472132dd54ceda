// A reservoir of the best candidates of a stream of scores. Higher scores are better for all
// metrics.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <functional>
#include <limits>
#include <utility>
#include <vector>

#include "waterfill/core/arithmetic.hpp"

namespace waterfill {

// A score and a position packed into one integer: a higher score is greater, and of equal scores
// the smaller position. A comparison is one instruction without a branch.
class Candidate {
 public:
  Candidate() = default;
  Candidate(float score, std::uint32_t position) : key_(candidate_key(score, position)) {}

  float score() const { return score_of(static_cast<std::uint32_t>(key_ >> 32)); }
  std::uint32_t position() const { return ~static_cast<std::uint32_t>(key_); }

  friend bool operator>(Candidate a, Candidate b) { return a.key_ > b.key_; }

 private:
  std::uint64_t key_ = 0;
};

using Candidates = std::vector<Candidate>;

// Moves the best n candidates to the front, the worst of them last; the rest is unordered. This is
// quickselect (Hoare 1961) with a branchless partition: on a few hundred candidates
// std::nth_element spends most of its time on mispredicted branches.
inline void part_best(Candidate* candidates, std::size_t size, std::size_t n) {
  if (size < n || n == 0) return;
  constexpr std::size_t kFew = 16;
  const auto at = [&](std::size_t i) { return candidates + i; };
  std::size_t begin = 0, end = size;  // the range of the n-th best
  for (int rounds = 0; end - begin > kFew && rounds < 64; ++rounds) {
    // Median of three. No two candidates are equal, so both sides are non-empty.
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

// Keeps the best n, the worst of them last.
inline void keep_best(Candidates& candidates, std::size_t n) {
  if (candidates.size() <= n) n = candidates.size();
  part_best(candidates.data(), candidates.size(), n);
  candidates.erase(candidates.begin() + static_cast<std::ptrdiff_t>(n), candidates.end());
}

// The best `capacity` candidates, without a heap in the inner loop: candidates at or above the
// threshold are collected in a buffer of twice the capacity, and when it is full the better half is
// kept. The result does not depend on the order of the candidates.
class Reservoir {
 public:
  static constexpr std::size_t kBurst = 32;  // pushes between two calls of `trim`
  static constexpr float kLowest = std::numeric_limits<float>::lowest();

  // threshold: the initial threshold. Scores of -infinity and NaN are never kept.
  explicit Reservoir(std::size_t capacity, float threshold = kLowest)
      : capacity_(capacity), threshold_(threshold), kept_(std::min(capacity, kFew) + kBurst) {}

  float threshold() const { return threshold_; }
  std::size_t size() const { return std::min(size_, capacity_); }
  // Candidates beyond a lower capacity go when the threshold rises next.
  void set_capacity(std::size_t capacity) { capacity_ = capacity; }

  // Keeps the score if it reaches the threshold, without a branch. Call `trim` after at most kBurst
  // pushes.
  void push(float score, std::uint32_t position) {
    kept_[size_] = Candidate(score, position);
    size_ += score >= threshold_ ? 1 : 0;
  }
  // The same for the vectors of a block that are in a mask.
  void push(const float* scores, std::uint32_t mask, std::uint32_t first) {
    static_assert(kBurst >= 32);
    Candidate* kept = kept_.data();
    std::size_t size = size_;  // in a register: `kept` may point to the member
    for (; mask != 0; mask &= mask - 1) {
      const auto lane = static_cast<std::uint32_t>(std::countr_zero(mask));
      kept[size] = Candidate(scores[lane], first + lane);
      size += scores[lane] >= threshold_ ? 1 : 0;
    }
    size_ = size;
  }
  // Makes room for kBurst pushes. Returns whether the threshold was updated.
  bool trim() {
    if (size_ >= 2 * capacity_) {
      raise_threshold();
      return true;
    }
    if (size_ + kBurst > kept_.size()) {
      kept_.resize(std::min(2 * kept_.size(), 2 * capacity_ + kBurst));
    }
    return false;
  }

  // Raises the threshold as far as the candidates allow.
  void raise_threshold() {
    if (size_ < capacity_) return;
    part_best(kept_.data(), size_, capacity_);
    size_ = capacity_;
    threshold_ = kept_[size_ - 1].score();
  }

  // Adds the candidates of another reservoir.
  void merge(const Reservoir& other) {
    for (std::size_t i = 0; i < other.size_; ++i) {
      if (i % kBurst == 0) trim();
      push(other.kept_[i].score(), other.kept_[i].position());
    }
    trim();
  }

  Candidates take() {
    kept_.resize(size_);
    keep_best(kept_, capacity_);
    return std::move(kept_);
  }

 private:
  static constexpr std::size_t kFew = 256;  // room to begin with

  std::size_t capacity_, size_ = 0;
  float threshold_;
  Candidates kept_;  // the first size_ of them
};

}  // namespace waterfill
