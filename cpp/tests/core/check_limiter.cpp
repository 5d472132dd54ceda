// The limiter under concurrent threads: never above its limit, no lost permits, complete counts.
#include <atomic>
#include <cmath>
#include <limits>
#include <thread>
#include <vector>

#include "core_check.hpp"
#include "waterfill/serving/limiter.hpp"

namespace waterfill {
namespace {

constexpr std::int64_t kLimit = 7;
constexpr int kThreads = 4, kRounds = 20'000;
constexpr double kForever = std::numeric_limits<double>::infinity();

void check_buckets() {
  for (std::size_t i = 0; i < LatencyHistogram::kBuckets; ++i) {
    const std::int64_t least = LatencyHistogram::least(i);
    expect(LatencyHistogram::bucket(least) == i, "a bucket does not hold its least duration");
    expect(LatencyHistogram::bucket(least - 1) == (i == 0 ? 0 : i - 1),
           "a bucket begins too early");
  }
  expect(LatencyHistogram::bucket(-1) == 0, "a negative duration");
  expect(LatencyHistogram::bucket(std::numeric_limits<std::int64_t>::max()) ==
             LatencyHistogram::kBuckets - 1,
         "the longest duration");
}

// The median follows within 128 records, to the width of a bucket.
void check_median() {
  LatencyHistogram latencies;
  expect(latencies.median() < 0, "a median of nothing");
  for (const std::int64_t ns : {50'000'000, 1'000, 3'000'000}) {
    for (int i = 0; i < 200; ++i) latencies.record(ns);
    const double seconds = static_cast<double>(ns) * 1e-9;
    expect(std::abs(latencies.median() / seconds - 1) <= 0.25, "the median does not follow");
  }
  latencies.reset();
  expect(latencies.median() < 0 && latencies.total() == 0, "reset leaves something");
}

void check_threads() {
  Limiter limiter(kLimit, {1, 0.5});
  std::atomic<std::int64_t> running{0}, most{0};
  const auto work = [&](int seed) {
    for (int i = 0; i < kRounds; ++i) {
      Ticket ticket;
      const std::uint32_t level = static_cast<std::uint32_t>(i + seed) % 2;
      if (limiter.admit(level, 1 + i % 3, kForever, ticket).refusal != Refusal::none) continue;
      const std::int64_t now = running.fetch_add(ticket.cost) + ticket.cost;
      for (std::int64_t seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
      }
      if (i % 64 == 0) std::this_thread::yield();
      running.fetch_sub(ticket.cost);
      limiter.release(ticket, i % 5 == 0);
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) threads.emplace_back(work, i);
  for (auto& thread : threads) thread.join();
  expect(most <= kLimit, "above the limit");
  expect(limiter.in_use() == 0, "permits were lost");
  std::uint64_t asked = 0;
  for (std::size_t level = 0; level < 2; ++level) {
    const Limiter::Counts c = limiter.counts(level);
    expect(c.admitted == c.released + c.abandoned, "what was admitted has not ended");
    asked += c.admitted + c.capacity + c.share + c.deadline;
  }
  expect(asked == std::uint64_t{kThreads} * kRounds, "requests were not counted");
}

// The limit converges to the target median, stays within its bounds, and does not rise while half
// idle.
void check_law() {
  const Adaptation law{8, 80, 0.1};
  const auto settled = [&](double from, double median_of_one) {
    double limit = from;
    for (int i = 0; i < 1000; ++i) {
      limit = law.next(limit, median_of_one * limit, static_cast<std::int64_t>(limit));
    }
    return limit;
  };
  expect(std::abs(settled(60, 0.004) - 25) < 0.1, "the limit does not settle from above");
  expect(std::abs(settled(10, 0.004) - 25) < 0.1, "the limit does not settle from below");
  expect(settled(60, 1) == 8 && settled(60, 1e-6) == 80, "the limit leaves its bounds");
  expect(law.next(40, 0.01, 19) == 40 && law.next(40, 0.01, 20) > 40, "an idle limit rises");
  expect(law.next(40, 0.2, 0) < 40, "an idle limit does not fall");
}

void check_adaptive_threads() {
  Limiter limiter(16, {1, 0.5}, {4, 32, 1e-3});
  const auto work = [&] {
    for (int i = 0; i < kRounds; ++i) {
      Ticket ticket;
      if (i % 512 == 0) limiter.set_limit(1 + i % 40);
      if (limiter.admit(0, 1, kForever, ticket).refusal == Refusal::none) {
        limiter.release(ticket, false);
      }
      const std::int64_t limit = limiter.limit();
      expect(4 <= limit && limit <= 32, "an adaptive limit leaves its bounds");
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) threads.emplace_back(work);
  for (auto& thread : threads) thread.join();
  limiter.reset();
  expect(limiter.limit() == 16, "reset leaves the limit where it went");
  Ticket half;
  expect(limiter.admit(1, 8, kForever, half).refusal == Refusal::none, "a share is of another");
  expect(limiter.admit(1, 1, kForever, half).refusal == Refusal::share, "a share is of another");
}

void check_reset() {
  Limiter limiter(kLimit, {1});
  Ticket old;
  limiter.admit(0, 5, kForever, old);
  limiter.reset();
  expect(limiter.in_use() == 0, "reset leaves something in use");
  expect(!limiter.release(old, false) && limiter.in_use() == 0, "an old ticket counts");
}

}  // namespace

void check_limiter() {
  check_buckets();
  check_median();
  check_threads();
  check_law();
  check_adaptive_threads();
  check_reset();
  std::printf("limiter: nothing lost, nothing above the limit\n");
}

}  // namespace waterfill
