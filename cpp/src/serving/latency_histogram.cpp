#include "waterfill/serving/latency_histogram.hpp"

#include <algorithm>
#include <bit>

namespace waterfill {
namespace {

constexpr int kLeastBits = 9;           // of 256 ns, the smallest bound
constexpr std::uint64_t kWindow = 64;   // records between two marks
constexpr std::uint64_t kInterval = 8;  // records between two medians
constexpr double kSeconds = 1e-9;

}  // namespace

std::size_t LatencyHistogram::bucket(std::int64_t ns) {
  const auto value = static_cast<std::uint64_t>(std::max<std::int64_t>(ns, 256));
  const int bits = static_cast<int>(std::bit_width(value));
  const auto quarter = static_cast<std::size_t>((value >> (bits - 3)) & 3);
  return std::min(kBuckets - 1, 4 * static_cast<std::size_t>(bits - kLeastBits) + quarter);
}

std::int64_t LatencyHistogram::least(std::size_t bucket) {
  return static_cast<std::int64_t>(4 + bucket % 4) << (bucket / 4 + kLeastBits - 3);
}

bool LatencyHistogram::record(std::int64_t ns) {
  counts_[bucket(ns)].fetch_add(1, std::memory_order_relaxed);
  total_.fetch_add(ns, std::memory_order_relaxed);
  const std::uint64_t recorded = recorded_.fetch_add(1, std::memory_order_relaxed) + 1;
  if (recorded > kWindow && recorded % kInterval != 0) return false;
  if (busy_.exchange(true, std::memory_order_acquire)) return false;
  update_median(recorded);
  busy_.store(false, std::memory_order_release);
  return true;
}

void LatencyHistogram::update_median(std::uint64_t recorded) {
  const Counts now = counts();
  if (recorded >= marked_ + kWindow) {
    older_ = newer_;
    newer_ = now;
    marked_ = recorded;
  }
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < kBuckets; ++i) sum += now[i] - older_[i];
  const double half = static_cast<double>(sum) / 2;
  double before = 0;
  for (std::size_t i = 0; i < kBuckets; ++i) {
    const auto own = static_cast<double>(now[i] - older_[i]);
    if (own > 0 && before + own >= half) {
      const auto low = static_cast<double>(least(i)), high = static_cast<double>(least(i + 1));
      median_.store((low + (high - low) * (half - before) / own) * kSeconds,
                    std::memory_order_relaxed);
      return;
    }
    before += own;
  }
}

LatencyHistogram::Counts LatencyHistogram::counts() const {
  Counts counts;
  for (std::size_t i = 0; i < kBuckets; ++i) {
    counts[i] = counts_[i].load(std::memory_order_relaxed);
  }
  return counts;
}

double LatencyHistogram::total() const {
  return static_cast<double>(total_.load(std::memory_order_relaxed)) * kSeconds;
}

void LatencyHistogram::reset() {
  for (auto& count : counts_) count.store(0, std::memory_order_relaxed);
  recorded_ = 0;
  total_ = 0;
  median_ = -1;
  older_ = newer_ = Counts{};
  marked_ = 0;
  busy_ = false;
}

}  // namespace waterfill
