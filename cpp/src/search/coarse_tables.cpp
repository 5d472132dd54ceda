#include "search/coarse_tables.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels.hpp"

namespace waterfill {
namespace {

// The largest sum: a limit of 65,535 lets no vector pass.
constexpr float kMaxSum = 65534;

// Variance of the contribution of each group to a score, for queries distributed like the data. The
// second moments of a dimension follow from its cells. The number of groups is padded to even.
std::vector<double> contributions(const Codec& codec) {
  std::vector<double> result((codec.groups() + 1) / 2 * 2, 0.0);
  std::size_t j = 0;
  for (std::size_t g = 0; g < codec.groups(); ++g) {
    for (const std::size_t end = j + codec.params().shapes[g].width; j < end; ++j) {
      double variance = 0;
      for (std::size_t h = 0; h < kCells; ++h) {
        const double value = codec.params().codebooks.cells[j * kCells + h];
        variance += value * value / kCells;
      }
      const double weight = codec.params().weights[j];
      variance /= weight * weight;
      result[g] += variance * variance;
    }
  }
  return result;
}

// The variance of a score that a scan of some pairs cannot resolve: that of the groups it does not
// read, and of the others what four bits leave (Shannon's bound for their width).
double unresolved(const Codec& codec, const std::vector<double>& variance,
                  const std::vector<std::uint32_t>& pairs) {
  constexpr double kCellBits = 4, kBinaryShare = 0.5;
  double sum = std::accumulate(variance.begin(), variance.end(), 0.0);
  for (const std::uint32_t pair : pairs) {
    for (std::size_t g = 2 * pair; g < std::min<std::size_t>(2 * pair + 2, codec.groups()); ++g) {
      const Shape& shape = codec.params().shapes[g];
      const double left = shape.kind == GroupKind::binary
                              ? kBinaryShare
                              : std::exp2(-2 * kCellBits / static_cast<double>(shape.width));
      sum -= (1 - left) * variance[g];
    }
  }
  return sum;
}

}  // namespace

std::vector<std::uint32_t> pairs_by_contribution(const Codec& codec) {
  const std::vector<double> groups = contributions(codec);
  const auto of_pair = [&](std::uint32_t i) { return groups[2 * i] + groups[2 * i + 1]; };
  std::vector<std::uint32_t> order(groups.size() / 2);
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return of_pair(a) > of_pair(b); });
  return order;
}

CoarsePlan::CoarsePlan(const Codec& codec, std::size_t group_count) : groups(group_count) {
  const std::vector<double> variance = contributions(codec);
  std::vector<std::uint32_t> order = pairs_by_contribution(codec);
  order.resize((groups + 1) / 2);
  std::sort(order.begin(), order.end());  // read memory in ascending order
  std::vector<std::uint32_t> count(order.size(), 1);
  const auto spread = [&](std::size_t i) {  // of the entries of one copy
    const double widest = std::max(variance[2 * order[i]], variance[2 * order[i] + 1]);
    return std::sqrt(widest) / count[i];
  };
  // Rounding adds a variance of step^2 / 12 per group. A table is about four deviations wide.
  constexpr double kWidth = 4, kTolerated = 0.02;
  const double tolerated = kTolerated * unresolved(codec, variance, order);
  const auto rounding = [&](std::size_t widest) {
    const double step = kWidth * spread(widest) / kMaxEntry;
    return 2 * static_cast<double>(order.size()) * step * step / 12;
  };
  for (std::size_t slots = order.size();; ++slots) {
    std::size_t widest = 0;
    for (std::size_t i = 1; i < order.size(); ++i) widest = spread(i) > spread(widest) ? i : widest;
    const bool fine = slots >= 2 * order.size() || rounding(widest) <= tolerated;
    if (fine && slots % kPairStep == 0) break;
    ++count[widest];
  }
  for (std::size_t i = 0; i < order.size(); ++i) {
    const std::uint32_t first = 2 * order[i];
    for (std::uint32_t c = 0; c < count[i]; ++c) {
      pairs.push_back(order[i]);
      // Float32 is exact for these integers.
      before.insert(before.end(), 2, static_cast<float>(kMaxEntry * c) - 0.5f);
      table_groups.insert(table_groups.end(), {first, first + 1});
    }
    for (std::uint32_t g = first; g < std::min<std::size_t>(first + 2, codec.groups()); ++g) {
      read.push_back(g);
      inverse_steps.push_back(1 / static_cast<float>(kMaxEntry * count[i]));
      dimensions = std::max(dimensions, codec.offsets()[g + 1]);
    }
  }
}

CoarseUnit quantize_tables(const CoarsePlan& plan, const std::vector<float>& cells,
                           std::uint8_t* luts) {
  const QueryKernels& query = kernels().query;
  const std::size_t groups = cells.size() / kCells;
  std::vector<float> least(groups), range(groups);
  query.ranges(cells.data(), groups, least.data(), range.data());
  CoarseUnit unit;
  float total = 0;
  for (std::size_t i = 0; i < plan.read.size(); ++i) {
    const std::size_t g = plan.read[i];
    unit.step = std::max(unit.step, range[g] * plan.inverse_steps[i]);
    unit.bias += least[g];
    total += range[g];
  }
  // Rounding may add half a step per table.
  const auto tables = static_cast<float>(plan.table_groups.size());
  unit.step = std::max(unit.step, total / (kMaxSum - tables));
  constexpr float kSmallestStep = 1e-30f;  // below it, tables are effectively constant
  if (unit.step < kSmallestStep) unit.step = 0;
  unit.inverse_step = unit.step > 0 ? 1 / unit.step : 0;
  query.quantize(cells.data(), least.data(), plan.table_groups.data(), plan.before.data(),
                 plan.table_groups.size(), unit.inverse_step, luts);
  return unit;
}

}  // namespace waterfill
