// How long requests take: a histogram that only grows, and the median of the latest of them.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace waterfill {

// Four buckets an octave, from 256 ns to 18 minutes; the ends hold what lies beyond. Any number of
// threads may record. Nobody waits: whoever finds the median being worked out leaves it at that.
class Latencies {
 public:
  static constexpr std::size_t kBuckets = 128;
  using Counts = std::array<std::uint64_t, kBuckets>;

  // The bucket of a duration, and the least duration (in ns) of a bucket.
  static std::size_t bucket(std::int64_t ns);
  static std::int64_t least(std::size_t bucket);

  // Returns whether the median was found anew.
  bool record(std::int64_t ns);
  // Of the last 64 to 128 (all, while they are fewer), in seconds; negative where there are none.
  double median() const { return median_.load(std::memory_order_relaxed); }
  Counts counts() const;
  double total() const;  // seconds
  // Nobody else may use it meanwhile.
  void reset();

 private:
  void find_median(std::uint64_t recorded);

  std::array<std::atomic<std::uint64_t>, kBuckets> counts_{};
  std::atomic<std::uint64_t> recorded_{0};
  std::atomic<std::int64_t> total_{0};  // ns
  std::atomic<double> median_{-1};
  std::atomic<bool> busy_{false};  // guards what follows
  Counts older_{}, newer_{};       // counts as of 64 to 128 records ago, and since then
  std::uint64_t marked_ = 0;       // records when newer_ was taken
};

}  // namespace waterfill
