// Calibration of the recall of lists: what share of the nearest neighbors lies in the lists that a
// query probes.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "training/calibration.hpp"
#include "training/calibration_scores.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kShare = 4;  // the small collection has one row in so many
// The share that is missed falls more slowly the larger the collection is: of the decay that the
// sample shows, this much is expected beyond it.
constexpr double kExpectedDecay = 0.5;
constexpr double kLargestDecay = 0.5;

// The neighbors outside the 2^i nearest lists: sums over queries of shares and of their squares.
struct Misses {
  std::vector<double> sum, squares;
  double queries = 0, neighbors = 0;
};

// ranks: of each list, for each query. list_of(row): the list of a neighbor.
template <class ListOf>
Misses count_misses(const std::vector<std::uint32_t>& ranks, std::size_t lists,
                    const std::vector<Top>& tops, ListOf list_of) {
  const std::size_t entries = list_recall_entries(lists);
  Misses misses{std::vector<double>(entries), std::vector<double>(entries)};
  for (std::size_t q = 0; q < tops.size(); ++q) {
    if (tops[q].empty()) continue;
    const auto count = static_cast<double>(tops[q].size());
    ++misses.queries;
    misses.neighbors += count;
    for (std::size_t i = 0; i < entries; ++i) {
      double outside = 0;
      for (const std::uint32_t row : tops[q]) {
        outside += ranks[q * lists + list_of(row)] >= (std::size_t{1} << i) ? 1 : 0;
      }
      misses.sum[i] += outside / count;
      misses.squares[i] += outside / count * (outside / count);
    }
  }
  return misses;
}

// The means plus their standard errors, at least one neighbor of all, and never rising.
std::vector<float> upper_estimates(const Misses& misses) {
  std::vector<float> missed;
  double least = 1;
  for (std::size_t i = 0; i < misses.sum.size(); ++i) {
    const double mean = misses.sum[i] / misses.queries;
    const double variance = std::max(0.0, misses.squares[i] / misses.queries - mean * mean);
    const double estimate = mean + std::sqrt(variance / misses.queries);
    least = std::min(least, std::max(estimate, 1 / misses.neighbors));
    missed.push_back(static_cast<float>(least));
  }
  return missed;
}

double total(const Misses& misses) {
  double sum = 0;
  for (const double one : misses.sum) sum += one;
  return misses.queries > 0 ? sum / misses.queries : 0;
}

}  // namespace

ListRecall calibrate_list_recall(const Index& index, const Rows& base,
                                 const std::vector<std::uint8_t>& codes, const Rows& queries,
                                 const std::vector<Top>& tops) {
  const Codec& codec = *index.codec();
  const std::size_t lists = codec.lists();
  std::vector<std::uint32_t> ranks(queries.n * lists);
  index.rank_lists(queries, ranks.data());
  const auto list_of = [&](std::size_t row) {
    return codec.cell_of(codes.data() + row * codec.code_size());
  };
  const Misses all = count_misses(ranks, lists, tops, list_of);
  if (all.queries == 0) return {};
  ListRecall recall{upper_estimates(all)};
  std::vector<float> part;
  for (std::size_t i = 0; i < base.n; i += kShare) {
    part.insert(part.end(), base.row(i), base.row(i) + base.d);
  }
  const std::vector<Top> part_tops = exact_tops(codec, {part.data(), part.size() / base.d, base.d},
                                                queries, index.metric() == Metric::l2);
  const Misses few =
      count_misses(ranks, lists, part_tops, [&](std::size_t row) { return list_of(row * kShare); });
  if (total(all) > 0 && total(few) > 0) {
    const double decay = std::log(total(few) / total(all)) / std::log(double{kShare});
    recall.decay = static_cast<float>(std::clamp(kExpectedDecay * decay, 0.0, kLargestDecay));
  }
  return recall;
}

}  // namespace waterfill
