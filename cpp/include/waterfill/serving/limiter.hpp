// A concurrency limiter that admits or refuses a request at once; no request waits.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "waterfill/serving/latency_histogram.hpp"

namespace waterfill {

enum class Refusal : std::uint8_t { none, capacity, share, deadline };

// The claim of an admitted request.
struct Ticket {
  std::int64_t cost = 0;
  std::int64_t start = 0;  // ns of a steady clock
  std::uint32_t level = 0;
  std::uint32_t epoch = 0;
};

// The control law of an adaptive limit: a target for the median latency in seconds, and bounds of
// the limit. Without a ceiling the limit is fixed.
struct Adaptation {
  std::int64_t floor = 0, ceiling = 0;
  double target = 0;

  bool is_adaptive() const { return ceiling > 0; }
  double clamped(double limit) const;
  // The limit after a new median.
  double next(double limit, double median, std::int64_t in_use) const;
};

// Lock-free. All functions except reset are thread-safe.
class Limiter {
 public:
  // Creates a priority level per share: requests of a level are admitted up to this part of the
  // limit, in (0, 1].
  Limiter(std::int64_t limit, const std::vector<double>& shares, const Adaptation& law = {});

  struct Answer {
    Refusal refusal;
    std::int64_t in_use;  // when the request was admitted or refused
  };
  // index: of the level. cost: at least 1. deadline: remaining seconds of the request, infinite
  // without a deadline.
  Answer admit(std::uint32_t index, std::int64_t cost, double deadline, Ticket& ticket);
  // Releases a ticket; call it once per ticket. Returns false for a ticket from before a reset,
  // which has no effect. An abandoned request does not enter the latencies.
  bool release(const Ticket& ticket, bool abandoned);
  // Estimated seconds until a retry can be admitted; negative if an identical retry cannot succeed.
  double retry_after(std::uint32_t index, std::int64_t cost, const Answer& refused) const;

  std::int64_t limit() const { return limit_.load(std::memory_order_relaxed); }
  // Never revokes tickets: above the new limit nothing is admitted until enough has been released.
  // An adaptive limit is clamped to its bounds and continues from there.
  void set_limit(std::int64_t limit);
  std::int64_t in_use() const { return in_use_.load(std::memory_order_relaxed); }

  struct Counts {
    std::uint64_t admitted, capacity, share, deadline, released, abandoned;
  };
  std::size_t levels() const { return levels_count_; }
  Counts counts(std::size_t index) const;
  const LatencyHistogram& latencies() const { return latencies_; }
  // Clears tickets and counts. Only for a forked child, which has no other thread. An adaptive
  // limit starts again.
  void reset();

 private:
  struct Level {
    double share = 1;
    std::atomic<std::int64_t> allowed{0};
    std::atomic<std::uint64_t> admitted{0}, refused[4]{}, released{0}, abandoned{0};
  };
  Answer refuse(Level& level, Refusal refusal, std::int64_t in_use);
  void adapt();
  void apply_limit(std::int64_t limit);  // requires resizing_

  const Adaptation law_;
  const std::int64_t start_;
  double adaptive_limit_ = 0;          // before it is rounded down
  std::atomic<bool> resizing_{false};  // guards adaptive_limit_ and the limits of all levels
  std::atomic<std::int64_t> limit_{0}, in_use_{0};
  std::atomic<std::uint32_t> epoch_{0};
  std::size_t levels_count_;
  std::unique_ptr<Level[]> levels_;
  LatencyHistogram latencies_;
};

}  // namespace waterfill
