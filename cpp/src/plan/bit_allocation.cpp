#include "waterfill/plan/bit_allocation.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>
#include <queue>
#include <tuple>

namespace waterfill {
namespace {

// Mean squared error of a 256-entry quantizer of w unit Gaussian dimensions, as a multiple of
// Shannon's bound 2^(-16/w). w = 1 is the Lloyd-Max quantizer (Max 1960); the others were measured
// with k-means on 100,000 points and 50,000 test points.
struct Loss {
  double width, ratio;
};
constexpr Loss kVectorLoss[] = {{1, 2.72},   {2, 2.237},  {3, 1.755},  {4, 1.572},  {5, 1.461},
                                {6, 1.396},  {8, 1.300},  {10, 1.246}, {12, 1.204}, {16, 1.163},
                                {24, 1.114}, {32, 1.091}, {48, 1.061}, {96, 1.030}};
constexpr double kOneBitError = 1 - 2 / 3.14159265358979323846;  // two centroids, one Gaussian

double vector_loss(double width) {
  const Loss* upper = std::find_if(std::begin(kVectorLoss), std::end(kVectorLoss),
                                   [&](const Loss& entry) { return entry.width >= width; });
  if (upper == std::end(kVectorLoss)) return std::prev(upper)->ratio;
  if (upper == std::begin(kVectorLoss) || upper->width == width) return upper->ratio;
  const Loss* lower = upper - 1;
  const double t = (width - lower->width) / (upper->width - lower->width);
  return lower->ratio + t * (upper->ratio - lower->ratio);
}

// k-means sees weighted coordinates, while the error is measured in unweighted ones.
double group_error(const std::vector<double>& variances, const std::vector<double>& weights,
                   const Group& group) {
  std::vector<double> own, weighted;
  for (const std::uint32_t dim : group.dims) {
    own.push_back(variances.at(dim));
    weighted.push_back(variances.at(dim) * weights.at(dim) * weights.at(dim));
  }
  const double energy = std::accumulate(own.begin(), own.end(), 0.0);
  if (group.kind == GroupKind::binary) return kOneBitError * energy;
  // The best use of eight bits within the group is water-filling again.
  const std::vector<double> rates = reverse_waterfill(weighted, kByteBits);
  double error = 0, active = 0;
  for (std::size_t i = 0; i < own.size(); ++i) {
    error += own[i] * std::exp2(-2 * rates[i]);
    active += rates[i] > 0;
  }
  return std::min(energy, error * vector_loss(std::max(1.0, active)));
}

// The part of a dimension that one group codes.
struct Share {
  double rate;
  std::uint32_t dim;
};

// Shares by descending rate. A dimension with more than eight bits has two: a whole byte, which
// fills its group, and the rest, unless the rest is too small to be worth a second byte.
std::vector<Share> shares_of(const std::vector<double>& rates) {
  constexpr double kMinSecondRate = 0.25;
  std::vector<Share> shares;
  shares.reserve(2 * rates.size());
  for (std::uint32_t dim = 0; dim < rates.size(); ++dim) {
    shares.push_back({std::min(rates[dim], kByteBits), dim});
  }
  for (std::uint32_t dim = 0; dim < rates.size(); ++dim) {
    if (rates[dim] >= kByteBits + kMinSecondRate) shares.push_back({rates[dim] - kByteBits, dim});
  }
  std::stable_sort(shares.begin(), shares.end(),
                   [](const Share& a, const Share& b) { return a.rate > b.rate; });
  return shares;
}

double rate_sum(const std::vector<double>& variances, double log_theta) {
  double sum = 0;
  for (const double variance : variances) {
    if (variance > 0) sum += std::clamp(0.5 * (std::log2(variance) - log_theta), 0.0, kMaxRate);
  }
  return sum;
}

}  // namespace

std::vector<double> shrink(const std::vector<double>& eigenvalues, std::uint64_t rows) {
  const double d = static_cast<double>(eigenvalues.size());
  const double n = static_cast<double>(std::max<std::uint64_t>(rows, 1));
  double sum = 0, squares = 0;
  std::vector<double> shrunk(eigenvalues);
  for (double& value : shrunk) {
    value = std::max(value, 0.0);
    sum += value;
    squares += value * value;
  }
  if (sum <= 0) return std::vector<double>(eigenvalues.size(), 1 / d);
  const double spread = squares - sum * sum / d;
  const double numerator = (1 - 2 / d) * squares + sum * sum;
  const double share =
      spread <= 0 ? 1 : std::clamp(numerator / ((n + 1 - 2 / d) * spread), 0.0, 1.0);
  for (double& value : shrunk) value = (1 - share) * value + share * sum / d;
  return shrunk;
}

std::vector<double> reverse_waterfill(const std::vector<double>& variances, double bits) {
  std::size_t positive = 0;
  double high = -1e300, low = 1e300;
  for (const double variance : variances) {
    require(variance >= 0 && std::isfinite(variance), "variances must be finite and not negative");
    if (variance == 0) continue;
    ++positive;
    high = std::max(high, std::log2(variance));
    low = std::min(low, std::log2(variance));
  }
  require(bits >= 0, "bits is " + std::to_string(bits) + ", expected 0 or more");
  std::vector<double> rates(variances.size(), 0.0);
  if (positive == 0 || bits == 0) return rates;
  low -= 2 * kMaxRate;  // at this level every rate is at its maximum
  for (int step = 0; step < 200; ++step) {
    const double middle = (low + high) / 2;
    (rate_sum(variances, middle) > bits ? low : high) = middle;
  }
  for (std::size_t i = 0; i < variances.size(); ++i) {
    if (variances[i] > 0) {
      rates[i] = std::clamp(0.5 * (std::log2(variances[i]) - high), 0.0, kMaxRate);
    }
  }
  return rates;
}

std::vector<Group> waterfill_groups(const std::vector<double>& rates, std::size_t code_bytes) {
  require(code_bytes >= 1 && code_bytes <= rates.size(),
          "code_bytes is " + std::to_string(code_bytes) + ", expected 1 to " +
              std::to_string(rates.size()) + ", the number of dimensions");
  std::vector<Share> shares = shares_of(rates);
  std::vector<Group> groups(code_bytes);
  using Filled =
      std::tuple<double, std::size_t, std::size_t>;  // rate so far, dimensions so far, group
  std::priority_queue<Filled, std::vector<Filled>, std::greater<>> emptiest;
  for (std::size_t g = 0; g < code_bytes; ++g) emptiest.emplace(0.0, 0, g);
  for (std::size_t i = 0; i < shares.size(); ++i) {
    const auto [rate, dim] = shares[i];
    if (emptiest.empty() || (rate <= 0 && i >= code_bytes)) break;
    const auto [filled, size, g] = emptiest.top();
    emptiest.pop();
    groups[g].dims.push_back(dim);
    if (rate < kByteBits) emptiest.emplace(filled + rate, size + 1, g);
  }
  return groups;
}

Classes classic_classes(const std::vector<double>& eigenvalues, double variance, double th_high,
                        double th_mid, Threshold meaning) {
  require(std::isfinite(th_high) && std::isfinite(th_mid), "th_high and th_mid must be finite");
  const std::size_t d = eigenvalues.size();
  std::size_t high = 0, kept = 0;
  if (meaning == Threshold::eigenvalue) {
    require(th_high >= th_mid && th_mid >= 0,
            "th_high must be at least th_mid, and th_mid at least 0, for eigenvalues");
    for (const double value : eigenvalues) {
      high += value * variance > th_high;
      kept += value * variance > th_mid;
    }
  } else {
    require(0 <= th_high && th_high <= th_mid && th_mid <= 1,
            "th_high and th_mid must satisfy 0 <= th_high <= th_mid <= 1 for shares");
    double held = 0;
    const double total = std::accumulate(eigenvalues.begin(), eigenvalues.end(), 0.0);
    for (std::size_t i = 0; i < d; ++i) {
      const bool by_variance = meaning == Threshold::variance;
      // A dimension belongs to the leading share if the dimensions before it do not fill the share.
      const double before =
          by_variance ? held / total : static_cast<double>(i) / static_cast<double>(d);
      constexpr double kRounding = 1e-12;
      high += before + kRounding < th_high;
      kept += before + kRounding < th_mid;
      held += eigenvalues[i];
    }
  }
  require(kept > 0, "th_mid drops every dimension; choose a lower threshold");
  return {high, kept - high};
}

std::vector<Group> classic_groups(const Classes& classes) {
  std::vector<Group> groups;
  std::uint32_t dim = 0;
  for (; dim < classes.high; ++dim) groups.push_back({{dim}, GroupKind::vector});
  const std::uint32_t end = static_cast<std::uint32_t>(classes.high + classes.medium);
  while (dim < end) {
    Group group{{}, GroupKind::binary};
    while (dim < end && group.dims.size() < kBinaryDims) group.dims.push_back(dim++);
    groups.push_back(std::move(group));
  }
  return groups;
}

Distortion predict_distortion(const std::vector<double>& variances,
                              const std::vector<double>& weights,
                              const std::vector<Group>& groups) {
  const double total = std::accumulate(variances.begin(), variances.end(), 0.0);
  require(total > 0, "variances must not all be zero");
  std::vector<double> left(variances);  // variance that is not coded yet
  std::vector<bool> used(variances.size(), false);
  double expected = 0, bits = 0;
  for (const Group& group : groups) {
    const double error = group_error(left, weights, group);
    expected += error;
    for (const std::uint32_t dim : group.dims) {
      if (used.at(dim)) expected -= left[dim];  // this byte codes the error of the first one
      used.at(dim) = true;
    }
    if (group.dims.size() == 1) left[group.dims[0]] = error;
    bits += group.kind == GroupKind::binary ? static_cast<double>(group.dims.size()) : kByteBits;
  }
  const std::vector<double> rates = reverse_waterfill(variances, bits);
  double bound = 0;
  for (std::size_t i = 0; i < variances.size(); ++i) {
    if (!used[i]) expected += variances[i];
    bound += variances[i] * std::exp2(-2 * rates[i]);
  }
  return {expected / total, bound / total};
}

}  // namespace waterfill
