#include "training/kmeans.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/random.hpp"
#include "training/coarse_order.hpp"
#include "waterfill/codec/fixed_point.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kPartRows = 16384;  // of the first iterations
constexpr int kAllIterations = 8;         // after those
constexpr double kNearlyConverged = 1e-3, kConverged = 3e-4;

float squared_distance(const float* a, const float* b, std::size_t width) {
  float sum = 0;
  for (std::size_t j = 0; j < width; ++j) sum += (a[j] - b[j]) * (a[j] - b[j]);
  return sum;
}

// The power of two that takes values to the fixed point of sums.
float summing_unit(const ValueRange& range) {
  constexpr int kLargestExponent = 100;  // of tiny values; others never come near
  const float largest = std::max(std::abs(range.low), std::abs(range.high));
  int exponent = 0;
  std::frexp(largest, &exponent);  // largest < 2^exponent
  return std::ldexp(1.0f, std::min(kSummandBits - exponent, kLargestExponent));
}

CentroidSums add_up(const Rows& y, const std::vector<std::uint8_t>& labels, float unit) {
  CentroidSums all{std::vector<std::int64_t>(kCentroids * y.d),
                   std::vector<std::uint64_t>(kCentroids), 0, 0};
  for (std::size_t i = 0; i < y.n; ++i) {
    std::int64_t* sum = all.sums.data() + labels[i] * y.d;
    const float* row = y.row(i);
    std::uint64_t squares = 0;
    for (std::size_t j = 0; j < y.d; ++j) {
      const std::int64_t value = summand(row[j], unit);
      sum[j] += value;
      squares += static_cast<std::uint64_t>(value * value);
    }
    all.squares_low += squares & 0xffffffffu;
    all.squares_high += squares >> 32;
    ++all.counts[labels[i]];
  }
  return all;
}

std::vector<float> errors_of(const Rows& y, const std::vector<float>& book,
                             const std::vector<std::uint8_t>& labels) {
  std::vector<float> errors(y.n, 0.0f);
  for (std::size_t i = 0; i < y.n; ++i) {
    for (std::size_t j = 0; j < y.d; ++j) {
      const float gap = y.row(i)[j] - book[j * kCentroids + labels[i]];
      errors[i] += gap * gap;
    }
  }
  return errors;
}

ValueRange range_of(const Rows& y) {
  const auto [low, high] = std::minmax_element(y.data, y.data + y.n * y.d);
  return {*low, *high};
}

// Every step-th row.
std::vector<float> every(const Rows& y, std::size_t step) {
  std::vector<float> rows;
  for (std::size_t i = 0; i < y.n; i += step) rows.insert(rows.end(), y.row(i), y.row(i) + y.d);
  return rows;
}

std::vector<std::uint32_t> histogram_of(const Rows& y, const ValueRange& range) {
  std::vector<std::uint32_t> counts(kSeedBins, 0);
  const double width = KMeans::bin_width(range);
  for (std::size_t i = 0; i < y.n; ++i) ++counts[seed_bin(y.data[i], range.low, width)];
  return counts;
}

}  // namespace

KMeans::KMeans(std::size_t width, std::size_t n, std::uint64_t seed, int iterations)
    : width_(width),
      n_(n),
      part_step_(std::max<std::size_t>(1, n / kPartRows)),
      seed_(seed),
      iterations_(iterations),
      phase_(n == 0           ? Phase::done
             : part_step_ > 1 ? Phase::part
                              : Phase::all),
      book_(width * kCentroids, 0.0f),
      counts_(kCentroids, 0) {}

std::size_t KMeans::seed_step() const {
  constexpr std::size_t kSeedRows = 4096;
  return std::max<std::size_t>(1, n_ / kSeedRows);
}

double KMeans::bin_width(const ValueRange& range) {
  return std::max((double{range.high} - range.low) / kSeedBins, 1e-30);
}

void KMeans::set_centroid(std::size_t c, const float* value) {
  for (std::size_t j = 0; j < width_; ++j) book_[j * kCentroids + c] = value[j];
}

// k-means++ seeds (Arthur & Vassilvitskii 2007). If there are fewer distinct rows than centroids,
// the last one is repeated; encoding never chooses such copies.
void KMeans::start(const ValueRange& range, const Rows& seeds) {
  unit_ = summing_unit(range);
  Random random(seed_);
  std::vector<float> distance(seeds.n, std::numeric_limits<float>::infinity());
  std::size_t chosen = static_cast<std::size_t>(random.next() % seeds.n);
  for (std::size_t c = 0; c < kCentroids; ++c) {
    set_centroid(c, seeds.row(chosen));
    double total = 0;
    for (std::size_t i = 0; i < seeds.n; ++i) {
      distance[i] =
          std::min(distance[i], squared_distance(seeds.row(i), seeds.row(chosen), width_));
      total += distance[i];
    }
    double left = random.uniform() * total;
    for (std::size_t i = 0; i < seeds.n && total > 0; ++i) {
      if (distance[i] <= 0) continue;
      chosen = i;
      left -= distance[i];
      if (left < 0) break;
    }
  }
}

// Seeds in one dimension: a point density proportional to the cube root of the density of the data,
// which is optimal for many levels (Panter & Dite 1951). k-means++ seeds are far from it and
// Lloyd's algorithm converges slowly.
void KMeans::start(const ValueRange& range, const std::vector<std::uint32_t>& histogram) {
  unit_ = summing_unit(range);
  const double low = range.low, bin = bin_width(range);
  std::vector<double> mass(histogram.begin(), histogram.end());
  double total = 0;
  for (double& m : mass) total += (m = std::cbrt(m));
  std::size_t b = 0;
  double before = 0;
  for (std::size_t c = 0; c < kCentroids; ++c) {
    const double target = (static_cast<double>(c) + 0.5) / kCentroids * total;
    while (b + 1 < kSeedBins && before + mass[b] < target) before += mass[b++];
    const double within = mass[b] > 0 ? (target - before) / mass[b] : 0.5;
    const auto value = static_cast<float>(low + (static_cast<double>(b) + within) * bin);
    set_centroid(c, &value);
  }
}

void KMeans::update(CentroidSums sums) {
  const bool moves = phase_ == Phase::part || phase_ == Phase::all;
  if (moves) move_to_means(sums);
  counts_ = std::move(sums.counts);
  if (phase_ == Phase::recount) phase_ = Phase::done;
  if (phase_ == Phase::count) put_in_order();
  if (!moves) return;
  empty_.clear();
  for (std::uint32_t c = 0; c < kCentroids; ++c) {
    if (counts_[c] == 0) empty_.push_back(c);
  }
  if (empty_.empty()) finish_step(false);
}

// Moves every centroid to the mean of its rows. The error is the sum of squared distances to the
// means.
void KMeans::move_to_means(const CentroidSums& sums) {
  constexpr double kHigh = 4294967296.0;
  error_ = static_cast<double>(sums.squares_high) * kHigh + static_cast<double>(sums.squares_low);
  for (std::size_t c = 0; c < kCentroids; ++c) {
    const auto count = static_cast<double>(sums.counts[c]);
    for (std::size_t j = 0; j < width_ && count > 0; ++j) {
      const auto sum = static_cast<double>(sums.sums[c * width_ + j]);
      book_[j * kCentroids + c] = static_cast<float>(sum / count / unit_);
      error_ -= sum * sum / count;
    }
  }
}

std::vector<std::uint32_t> KMeans::worst_rows(const std::vector<float>& errors) const {
  std::vector<std::uint32_t> worst(errors.size());
  std::iota(worst.begin(), worst.end(), std::uint32_t{0});
  const std::size_t count = std::min(empty_.size(), worst.size());
  std::partial_sort(worst.begin(), worst.begin() + static_cast<std::ptrdiff_t>(count), worst.end(),
                    [&](std::size_t a, std::size_t b) {
                      return errors[a] != errors[b] ? errors[a] > errors[b] : a < b;
                    });
  std::size_t far = 0;
  while (far < count && errors[worst[far]] > 0) ++far;
  worst.resize(far);
  for (std::uint32_t& row : worst) row *= static_cast<std::uint32_t>(row_step());
  return worst;
}

void KMeans::repair(const std::vector<float>& rows) {
  const std::size_t count = rows.size() / width_;
  for (std::size_t i = 0; i < count; ++i) set_centroid(empty_[i], rows.data() + i * width_);
  empty_.clear();
  finish_step(count > 0);
}

// A phase ends when a step improves the error by less than a small share.
void KMeans::finish_step(bool moved) {
  const double converged = phase_ == Phase::part ? kNearlyConverged : kConverged;
  const int most = phase_ == Phase::all && part_step_ > 1 ? kAllIterations : iterations_;
  const bool ends = step_ > 0 && !moved && last_error_ - error_ <= converged * last_error_;
  last_error_ = error_;
  if (++step_ < most && !ends) return;
  phase_ = phase_ == Phase::part ? Phase::all : Phase::count;
  step_ = 0;
}

// If rows have few distinct values some centroids are equal, and in another order another of them
// is the nearest.
void KMeans::put_in_order() {
  const std::vector<std::uint32_t> order = coarse_order(book_, width_, counts_);
  const std::vector<float> book = std::move(book_);
  const std::vector<std::uint64_t> counts = std::move(counts_);
  book_.resize(book.size());
  counts_.resize(kCentroids);
  for (std::size_t c = 0; c < kCentroids; ++c) {
    counts_[c] = counts[order[c]];
    for (std::size_t j = 0; j < width_; ++j) {
      book_[j * kCentroids + c] = book[j * kCentroids + order[c]];
    }
  }
  const bool all_have_rows = std::find(counts_.begin(), counts_.end(), 0u) == counts_.end();
  phase_ = all_have_rows ? Phase::done : Phase::recount;
}

KMeans kmeans(const Rows& y, std::uint64_t seed, int iterations) {
  KMeans run(y.d, y.n, seed, iterations);
  if (y.n == 0) return run;
  const ValueRange range = range_of(y);
  if (y.d == 1) {
    run.start(range, histogram_of(y, range));
  } else {
    const std::vector<float> seeds = every(y, run.seed_step());
    run.start(range, {seeds.data(), seeds.size() / y.d, y.d});
  }
  const std::vector<float> some =
      run.row_step() > 1 ? every(y, run.row_step()) : std::vector<float>();
  std::vector<std::uint8_t> labels;
  while (!run.done()) {
    const Rows rows{run.row_step() > 1 ? some.data() : y.data, run.rows(), y.d};
    labels.resize(rows.n);
    Int16Codebook(run.book().data(), y.d).nearest(rows, labels.data());
    run.update(add_up(rows, labels, run.unit()));
    if (!run.has_empty()) continue;
    std::vector<float> worst;
    for (const std::uint32_t i : run.worst_rows(errors_of(rows, run.book(), labels))) {
      worst.insert(worst.end(), y.row(i), y.row(i) + y.d);
    }
    run.repair(worst);
  }
  return run;
}

}  // namespace waterfill
