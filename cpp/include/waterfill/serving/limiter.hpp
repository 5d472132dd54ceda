// How much may be in use at once. Nobody waits: a request is admitted or refused at once.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "waterfill/serving/latency_histogram.hpp"

namespace waterfill {

enum class Refusal : std::uint8_t { none, capacity, share, deadline };

// What one admitted request holds.
struct Ticket {
  std::int64_t cost = 0;
  std::int64_t start = 0;  // ns of a steady clock
  std::uint32_t level = 0;
  std::uint32_t epoch = 0;
};

// By what a limit moves: the seconds that the median permit should be held for, and bounds. A law
// without a ceiling is none: the limit stays as it is set.
struct Adaptation {
  std::int64_t floor = 0, ceiling = 0;
  double target = 0;

  bool moves() const { return ceiling > 0; }
  double clamped(double limit) const;
  // The limit after another median.
  double next(double limit, double median, std::int64_t in_use) const;
};

// Atomics alone; every function may be called by any thread, but for reset.
class Limiter {
 public:
  // A level for each share: the part of the limit up to which its requests are admitted, in (0, 1].
  Limiter(std::int64_t limit, const std::vector<double>& shares, const Adaptation& law = {});

  struct Answer {
    Refusal refusal;
    std::int64_t in_use;  // as it was when the request was admitted or refused
  };
  // cost is 1 or more. deadline: seconds that the request has left; infinite if it has no deadline.
  Answer admit(std::uint32_t level, std::int64_t cost, double deadline, Ticket& ticket);
  // Gives back what a ticket holds, once a ticket. A ticket from before a reset holds nothing:
  // false. Work that was abandoned says nothing of how long requests take.
  bool release(const Ticket& ticket, bool abandoned);
  // Seconds until what is over the share is likely to be released; negative where that will not do.
  double retry_after(std::uint32_t level, std::int64_t cost, const Answer& refused) const;

  std::int64_t limit() const { return limit_.load(std::memory_order_relaxed); }
  // Never revokes: above the new limit nothing is admitted until enough has been released. With a
  // law the limit is clamped to its bounds, and moves on from there.
  void set_limit(std::int64_t limit);
  std::int64_t in_use() const { return in_use_.load(std::memory_order_relaxed); }

  struct Counts {
    std::uint64_t admitted, capacity, share, deadline, released, abandoned;
  };
  std::size_t levels() const { return levels_count_; }
  Counts counts(std::size_t level) const;
  const Latencies& latencies() const { return latencies_; }
  // Forgets all that was admitted and counted, in a forked child, where no other thread is. A limit
  // that moves begins anew.
  void reset();

 private:
  struct Level {
    double share = 1;
    std::atomic<std::int64_t> allowed{0};
    std::atomic<std::uint64_t> admitted{0}, refused[4]{}, released{0}, abandoned{0};
  };
  Answer refuse(Level& level, Refusal refusal, std::int64_t in_use);
  void adapt();
  void resize(std::int64_t limit);  // by whoever holds resizing_

  const Adaptation law_;
  const std::int64_t start_;
  double exact_ = 0;                   // a limit that moves, before it is rounded down
  std::atomic<bool> resizing_{false};  // guards exact_, and that all of a limit is of one limit
  std::atomic<std::int64_t> limit_{0}, in_use_{0};
  std::atomic<std::uint32_t> epoch_{0};
  std::size_t levels_count_;
  std::unique_ptr<Level[]> levels_;
  Latencies latencies_;
};

}  // namespace waterfill
