#include "waterfill/serving/limiter.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <thread>

namespace waterfill {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr double kStep = 0.05;  // gain of the control law
constexpr double kUnknown = 1;  // assumed latency in seconds before any request has ended

std::int64_t now() {
  using std::chrono::steady_clock, std::chrono::nanoseconds, std::chrono::duration_cast;
  return duration_cast<nanoseconds>(steady_clock::now().time_since_epoch()).count();
}

}  // namespace

double Adaptation::clamped(double limit) const {
  return std::clamp(limit, static_cast<double>(floor), static_cast<double>(ceiling));
}

double Adaptation::next(double limit, double median, std::int64_t in_use) const {
  const double ratio = target / median;
  // A limit that is used by half at most gives no evidence for a higher one.
  if (ratio > 1 && 2 * static_cast<double>(in_use) < limit) return limit;
  return clamped(limit * (1 + kStep * (std::clamp(ratio, 0.5, 1.5) - 1)));
}

Limiter::Limiter(std::int64_t limit, const std::vector<double>& shares, const Adaptation& law)
    : law_(law), start_(limit), levels_count_(shares.size()), levels_(new Level[shares.size()]) {
  for (std::size_t i = 0; i < shares.size(); ++i) levels_[i].share = shares[i];
  set_limit(limit);
}

void Limiter::set_limit(std::int64_t limit) {
  // The lock is held for nanoseconds only.
  while (resizing_.exchange(true, std::memory_order_acquire)) std::this_thread::yield();
  adaptive_limit_ = law_.clamped(static_cast<double>(limit));
  apply_limit(law_.is_adaptive() ? static_cast<std::int64_t>(adaptive_limit_) : limit);
  resizing_.store(false, std::memory_order_release);
}

// Skipped if another thread is changing the limit.
void Limiter::adapt() {
  if (!law_.is_adaptive() || resizing_.exchange(true, std::memory_order_acquire)) return;
  adaptive_limit_ = law_.next(adaptive_limit_, latencies_.median(), in_use());
  apply_limit(static_cast<std::int64_t>(adaptive_limit_));
  resizing_.store(false, std::memory_order_release);
}

void Limiter::apply_limit(std::int64_t limit) {
  for (std::size_t i = 0; i < levels_count_; ++i) {
    // 0.29 of 100 must be 29 although the product is slightly less.
    const double allowed = std::floor(levels_[i].share * static_cast<double>(limit) + 1e-6);
    levels_[i].allowed.store(static_cast<std::int64_t>(allowed), kRelaxed);
  }
  limit_.store(limit, kRelaxed);
}

Limiter::Answer Limiter::refuse(Level& level, Refusal refusal, std::int64_t in_use) {
  level.refused[static_cast<std::size_t>(refusal)].fetch_add(1, kRelaxed);
  return {refusal, in_use};
}

Limiter::Answer Limiter::admit(std::uint32_t index, std::int64_t cost, double deadline,
                               Ticket& ticket) {
  Level& level = levels_[index];
  std::int64_t in_use = in_use_.load(kRelaxed);
  if (std::isfinite(deadline)) {
    // An idle limiter admits a request whatever the median is. Otherwise a median from slow times
    // would refuse all requests, and no new latency would ever be measured.
    const bool late = in_use > 0 && deadline < latencies_.median();
    if (deadline <= 0 || late) return refuse(level, Refusal::deadline, in_use);
  }
  const std::int64_t allowed = level.allowed.load(kRelaxed);
  do {
    if (cost > allowed - in_use) {
      const bool full = cost > limit() - in_use;
      return refuse(level, full ? Refusal::capacity : Refusal::share, in_use);
    }
  } while (
      !in_use_.compare_exchange_weak(in_use, in_use + cost, std::memory_order_acquire, kRelaxed));
  level.admitted.fetch_add(1, kRelaxed);
  ticket = {cost, now(), index, epoch_.load(kRelaxed)};
  return {Refusal::none, in_use + cost};
}

bool Limiter::release(const Ticket& ticket, bool abandoned) {
  if (ticket.epoch != epoch_.load(kRelaxed)) return false;
  Level& level = levels_[ticket.level];
  if (!abandoned && latencies_.record(now() - ticket.start)) adapt();
  (abandoned ? level.abandoned : level.released).fetch_add(1, kRelaxed);
  in_use_.fetch_sub(ticket.cost, std::memory_order_release);
  return true;
}

double Limiter::retry_after(std::uint32_t index, std::int64_t cost, const Answer& refused) const {
  const std::int64_t allowed = levels_[index].allowed.load(kRelaxed);
  if (refused.refusal == Refusal::deadline || cost > allowed) return -1;
  // At the recent pace all current tickets are released within one median.
  const double median = latencies_.median() < 0 ? kUnknown : latencies_.median();
  const auto over = static_cast<double>(std::max<std::int64_t>(0, refused.in_use + cost - allowed));
  return median * over / static_cast<double>(std::max<std::int64_t>(1, refused.in_use));
}

Limiter::Counts Limiter::counts(std::size_t index) const {
  const Level& level = levels_[index];
  return {level.admitted.load(kRelaxed),   level.refused[1].load(kRelaxed),
          level.refused[2].load(kRelaxed), level.refused[3].load(kRelaxed),
          level.released.load(kRelaxed),   level.abandoned.load(kRelaxed)};
}

void Limiter::reset() {
  epoch_.fetch_add(1, kRelaxed);
  in_use_ = 0;
  for (std::size_t i = 0; i < levels_count_; ++i) {
    Level& level = levels_[i];
    level.admitted = level.released = level.abandoned = 0;
    for (auto& count : level.refused) count = 0;
  }
  latencies_.reset();
  resizing_ = false;
  if (law_.is_adaptive()) set_limit(start_);
}

}  // namespace waterfill
