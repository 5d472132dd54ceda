// A histogram of request latencies, and the median of the most recent ones.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace waterfill {

// Four buckets per octave, from 256 ns to 18 minutes; the outermost buckets are open. Any number of
// threads may record, and none waits: a thread that finds the median being computed skips it.
class LatencyHistogram {
 public:
  static constexpr std::size_t kBuckets = 128;
  using Counts = std::array<std::uint64_t, kBuckets>;

  // The bucket of a duration, and the smallest duration of a bucket, in ns.
  static std::size_t bucket(std::int64_t ns);
  static std::int64_t least(std::size_t bucket);

  // Returns whether the median was updated.
  bool record(std::int64_t ns);
  // The median of the last 64 to 128 durations (of all, if there are fewer), in seconds. Negative
  // without any.
  double median() const { return median_.load(std::memory_order_relaxed); }
  Counts counts() const;
  double total() const;  // seconds
  // Not thread-safe.
  void reset();

 private:
  void update_median(std::uint64_t recorded);

  std::array<std::atomic<std::uint64_t>, kBuckets> counts_{};
  std::atomic<std::uint64_t> recorded_{0};
  std::atomic<std::int64_t> total_{0};  // ns
  std::atomic<double> median_{-1};
  std::atomic<bool> busy_{false};  // guards the members below
  Counts older_{}, newer_{};       // counts 64 to 128 records ago, and at the last mark
  std::uint64_t marked_ = 0;       // number of records at the last mark
};

}  // namespace waterfill
