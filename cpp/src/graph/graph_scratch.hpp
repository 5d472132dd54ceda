// What a search of a graph works with, kept by each thread between searches.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "waterfill/graph/graph.hpp"

namespace waterfill {

// The best rows so far, in falling order, and which of them have been followed.
class GraphBeam {
 public:
  struct Entry {
    float score;
    std::uint32_t row : 31, followed : 1;
  };

  void clear(std::size_t capacity) {
    capacity_ = capacity;
    entries_.clear();
    next_ = 0;
  }
  // What a row must exceed to enter.
  float threshold() const {
    return entries_.size() < capacity_ ? -std::numeric_limits<float>::infinity()
                                       : entries_.back().score;
  }
  void insert(float score, std::uint32_t row) {
    if (entries_.size() == capacity_) {
      if (!(score > entries_.back().score)) return;
      entries_.pop_back();
    }
    const auto place =
        std::upper_bound(entries_.begin(), entries_.end(), score,
                         [](float value, const Entry& entry) { return value > entry.score; });
    next_ = std::min(next_, static_cast<std::size_t>(place - entries_.begin()));
    entries_.insert(place, Entry{score, row & kMostGraphRows, 0});
  }
  // The best entry that has not been followed, or null.
  Entry* next() {
    while (next_ < entries_.size() && entries_[next_].followed) ++next_;
    return next_ < entries_.size() ? &entries_[next_] : nullptr;
  }
  const std::vector<Entry>& entries() const { return entries_; }

 private:
  std::vector<Entry> entries_;
  std::size_t capacity_ = 0, next_ = 0;  // all before `next_` have been followed
};

// The rows that a search has come across.
class SeenRows {
 public:
  void prepare(std::size_t n) {
    if (bits_.size() < words_for(n)) bits_.resize(words_for(n), 0);
  }
  // Returns whether the row is new.
  bool add(std::uint32_t row) {
    std::uint64_t& word = bits_[row / kBitsPerWord];
    const std::uint64_t bit = std::uint64_t{1} << row % kBitsPerWord;
    if ((word & bit) != 0) return false;
    word |= bit;
    touched_.push_back(static_cast<std::uint32_t>(row / kBitsPerWord));
    return true;
  }
  // Clears only what was set: a search sees few of all rows.
  void clear() noexcept {
    for (const std::uint32_t word : touched_) bits_[word] = 0;
    touched_.clear();
  }

 private:
  Bits bits_;
  std::vector<std::uint32_t> touched_;  // words with bits
};

struct GraphScratch {
  GraphQuery query;
  GraphBeam beam;
  SeenRows seen;
  std::vector<std::uint32_t> rows;
  std::vector<float> scores;
  std::vector<GraphResult> waiting;  // rows whose rest is on its way, and what they may score

  // That of this thread.
  static GraphScratch& own() {
    static thread_local GraphScratch scratch;
    return scratch;
  }
};

}  // namespace waterfill
