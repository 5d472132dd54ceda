#include "training/kmeans.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/random.hpp"
#include "kernels.hpp"
#include "waterfill/codec/fixed_point.hpp"

namespace waterfill {
namespace {

void set_centroid(Clustering& clusters, std::size_t width, std::size_t c, const float* value) {
  for (std::size_t j = 0; j < width; ++j) clusters.book[j * kCentroids + c] = value[j];
}

float squared_distance(const float* a, const float* b, std::size_t width) {
  float sum = 0;
  for (std::size_t j = 0; j < width; ++j) sum += (a[j] - b[j]) * (a[j] - b[j]);
  return sum;
}

// k-means++ seeds (Arthur & Vassilvitskii 2007) from evenly spaced rows. If there are fewer
// distinct rows than centroids, the last one is repeated; encoding never chooses such copies.
void start_spread(const Rows& y, Random& random, Clustering& clusters) {
  constexpr std::size_t kStartRows = 4096;
  const std::size_t step = std::max<std::size_t>(1, y.n / kStartRows);
  const std::size_t n = (y.n + step - 1) / step;
  std::vector<float> distance(n, std::numeric_limits<float>::infinity());
  std::size_t chosen = static_cast<std::size_t>(random.next() % n);
  for (std::size_t c = 0; c < kCentroids; ++c) {
    set_centroid(clusters, y.d, c, y.row(chosen * step));
    double total = 0;
    for (std::size_t i = 0; i < n; ++i) {
      distance[i] =
          std::min(distance[i], squared_distance(y.row(i * step), y.row(chosen * step), y.d));
      total += distance[i];
    }
    double left = random.uniform() * total;
    for (std::size_t i = 0; i < n && total > 0; ++i) {
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
void start_companded(const Rows& y, Clustering& clusters) {
  constexpr std::size_t kBins = 1024;
  std::vector<float> sorted(y.data, y.data + y.n);
  std::sort(sorted.begin(), sorted.end());
  const double low = sorted.front(), high = sorted.back();
  const double bin = std::max((high - low) / kBins, 1e-30);
  std::vector<double> mass(kBins, 0.0);
  for (const float value : sorted) {
    mass[std::min(kBins - 1, static_cast<std::size_t>((value - low) / bin))] += 1;
  }
  double total = 0;
  for (double& m : mass) total += (m = std::cbrt(m));
  std::size_t b = 0;
  double before = 0;
  for (std::size_t c = 0; c < kCentroids; ++c) {
    const double target = (static_cast<double>(c) + 0.5) / kCentroids * total;
    while (b + 1 < kBins && before + mass[b] < target) before += mass[b++];
    const double within = mass[b] > 0 ? (target - before) / mass[b] : 0.5;
    const float value = static_cast<float>(low + (static_cast<double>(b) + within) * bin);
    set_centroid(clusters, 1, c, &value);
  }
}

void assign(const Rows& y, Clustering& clusters) {
  Int16Codebook(clusters.book.data(), y.d).nearest(y, clusters.labels.data());
}

// Moves every centroid to the mean of its rows and returns the sum of squared distances to the
// means. squares: sum of squares of the rows.
double update(const Rows& y, double squares, Clustering& clusters) {
  std::vector<double> sums(kCentroids * y.d, 0.0);
  std::fill(clusters.counts.begin(), clusters.counts.end(), 0u);
  for (std::size_t i = 0; i < y.n; ++i) {
    double* sum = sums.data() + clusters.labels[i] * y.d;
    const float* row = y.row(i);
    for (std::size_t j = 0; j < y.d; ++j) sum[j] += row[j];
    ++clusters.counts[clusters.labels[i]];
  }
  for (std::size_t c = 0; c < kCentroids; ++c) {
    const auto count = static_cast<double>(clusters.counts[c]);
    for (std::size_t j = 0; j < y.d && count > 0; ++j) {
      const double sum = sums[c * y.d + j];
      clusters.book[j * kCentroids + c] = static_cast<float>(sum / count);
      squares -= sum * sum / count;
    }
  }
  return squares;
}

std::vector<float> errors_of(const Rows& y, const Clustering& clusters) {
  std::vector<float> errors(y.n, 0.0f);
  for (std::size_t i = 0; i < y.n; ++i) {
    for (std::size_t j = 0; j < y.d; ++j) {
      const float gap = y.row(i)[j] - clusters.book[j * kCentroids + clusters.labels[i]];
      errors[i] += gap * gap;
    }
  }
  return errors;
}

// Moves centroids without rows to the rows with the largest errors. Returns whether any moved.
bool repair_empty(const Rows& y, Clustering& clusters) {
  std::vector<std::size_t> empty;
  for (std::size_t c = 0; c < kCentroids; ++c) {
    if (clusters.counts[c] == 0) empty.push_back(c);
  }
  if (empty.empty()) return false;
  const std::vector<float> errors = errors_of(y, clusters);
  std::vector<std::size_t> worst(y.n);
  std::iota(worst.begin(), worst.end(), std::size_t{0});
  const std::size_t count = std::min(empty.size(), y.n);
  std::partial_sort(worst.begin(), worst.begin() + static_cast<std::ptrdiff_t>(count), worst.end(),
                    [&](std::size_t a, std::size_t b) {
                      return errors[a] != errors[b] ? errors[a] > errors[b] : a < b;
                    });
  bool moved = false;
  for (std::size_t i = 0; i < count && errors[worst[i]] > 0; ++i) {
    set_centroid(clusters, y.d, empty[i], y.row(worst[i]));
    moved = true;
  }
  return moved;
}

// Lloyd's algorithm until an iteration improves the error by less than the share `converged`.
void improve(const Rows& y, int iterations, double converged, Clustering& clusters) {
  double squares = 0, last = 0;
  for (std::size_t i = 0; i < y.n * y.d; ++i) squares += static_cast<double>(y.data[i]) * y.data[i];
  for (int step = 0; step < iterations; ++step) {
    assign(y, clusters);
    const double error = update(y, squares, clusters);
    const bool moved = repair_empty(y, clusters);
    if (step > 0 && !moved && last - error <= converged * last) break;
    last = error;
  }
}

}  // namespace

Clustering kmeans(const Rows& y, std::uint64_t seed, int iterations) {
  Clustering clusters{std::vector<float>(y.d * kCentroids, 0.0f),
                      std::vector<std::uint64_t>(kCentroids, 0), std::vector<std::uint8_t>(y.n)};
  if (y.n == 0) return clusters;
  Random random(seed);
  if (y.d == 1) {
    start_companded(y, clusters);
  } else {
    start_spread(y, random, clusters);
  }
  // The first iterations need only a part of the rows.
  constexpr std::size_t kPartRows = 16384;
  constexpr double kNearlyConverged = 1e-3, kConverged = 3e-4;
  int full_iterations = iterations;
  if (y.n >= 2 * kPartRows) {
    const std::size_t step = y.n / kPartRows;
    Rows part{nullptr, y.n / step, y.d};
    std::vector<float> rows;
    for (std::size_t i = 0; i < part.n; ++i) {
      rows.insert(rows.end(), y.row(i * step), y.row(i * step) + y.d);
    }
    part.data = rows.data();
    improve(part, iterations, kNearlyConverged, clusters);
    full_iterations = 8;
  }
  improve(y, full_iterations, kConverged, clusters);
  assign(y, clusters);
  std::fill(clusters.counts.begin(), clusters.counts.end(), 0u);
  for (const std::uint8_t label : clusters.labels) ++clusters.counts[label];
  return clusters;
}

}  // namespace waterfill
