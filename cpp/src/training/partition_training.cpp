#include "waterfill/training/partition_training.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <queue>
#include <span>

#include "core/random.hpp"
#include "waterfill/core/interruption.hpp"

namespace waterfill {
namespace {

using Labels = std::vector<std::uint16_t>;

// Rows with these numbers.
std::vector<float> rows_at(const Rows& rows, std::span<const std::uint32_t> numbers) {
  std::vector<float> some(numbers.size() * rows.d);
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    std::copy_n(rows.row(numbers[i]), rows.d, some.data() + i * rows.d);
  }
  return some;
}

// Centroids under Lloyd's iterations.
class LloydCentroids {
 public:
  LloydCentroids(std::vector<float> centroids, const std::vector<float>& mean, AssignmentRule rule)
      : d_(mean.size()), rule_(rule), mean_(mean), centroids_(std::move(centroids)) {}

  Rows rows() const { return {centroids_.data(), centroids_.size() / d_, d_}; }
  Partition partition() const { return Partition(centroids_, mean_, rule_); }
  void reorder(std::span<const std::uint32_t> order) { centroids_ = rows_at(rows(), order); }

  // Moves centroids to the means of their rows.
  void move(const Rows& rows, const Labels& cells) {
    std::vector<double> sums(centroids_.size(), 0.0);
    std::vector<std::size_t> counts(centroids_.size() / d_, 0), first(counts.size());
    for (std::size_t i = 0; i < rows.n; ++i) {
      double* sum = sums.data() + cells[i] * d_;
      for (std::size_t k = 0; k < d_; ++k) sum[k] += rows.row(i)[k];
      if (counts[cells[i]]++ == 0) first[cells[i]] = i;
    }
    for (std::size_t c = 0; c < counts.size(); ++c) {
      for (std::size_t k = 0; k < d_ && counts[c] > 0; ++k) {
        at(c)[k] = static_cast<float>(sums[c * d_ + k] / static_cast<double>(counts[c]));
      }
    }
    split_for_empty(rows, counts, first);
  }

 private:
  float* at(std::size_t c) { return centroids_.data() + c * d_; }

  // An empty cell splits the fullest one: it gets the first row of that.
  void split_for_empty(const Rows& rows, std::vector<std::size_t>& counts,
                       const std::vector<std::size_t>& first) {
    if (std::find(counts.begin(), counts.end(), 0) == counts.end()) return;
    struct Cell {
      std::size_t count, number;
      bool operator<(const Cell& other) const {  // of equally full ones the first is on top
        return count != other.count ? count < other.count : number > other.number;
      }
    };
    std::priority_queue<Cell> fullest;
    for (std::size_t c = 0; c < counts.size(); ++c) fullest.push({counts[c], c});
    for (std::size_t c = 0; c < counts.size(); ++c) {
      if (counts[c] > 0) continue;
      const std::size_t split = fullest.top().number;
      std::copy_n(rows.row(first[split]), d_, at(c));
      counts[split] /= 2;
      fullest.pop();
      fullest.push({counts[split], split});
    }
  }

  std::size_t d_;
  AssignmentRule rule_;
  std::vector<float> mean_, centroids_;
};

// Every step-th row.
std::vector<float> every(const Rows& rows, std::size_t step) {
  std::vector<float> part;
  for (std::size_t i = 0; i < rows.n; i += step) {
    part.insert(part.end(), rows.row(i), rows.row(i) + rows.d);
  }
  return part;
}

// Distinct random rows.
std::vector<float> random_rows(const Rows& rows, std::size_t number, Random& random) {
  std::vector<std::uint32_t> order(rows.n);
  std::iota(order.begin(), order.end(), std::uint32_t{0});
  for (std::size_t c = 0; c < number; ++c) {
    std::swap(order[c], order[c + static_cast<std::size_t>(random.next() % (rows.n - c))]);
  }
  order.resize(number);
  return rows_at(rows, order);
}

// Calls iterate(rows) for each iteration: the first ones need only a part of the rows. work: what
// to count of them all.
template <class Iterate>
void each_iteration(const Rows& sample, std::size_t cells, std::uint64_t work, Iterate iterate) {
  constexpr std::size_t kPartRows = 16;  // rows per cell
  constexpr std::size_t kPartSteps = 8, kSteps = 8;
  const std::size_t step = std::max<std::size_t>(1, sample.n / (kPartRows * cells));
  const std::vector<float> part = step > 1 ? every(sample, step) : std::vector<float>();
  const Rows some{part.data(), part.size() / sample.d, sample.d};
  const Rows& first = step > 1 ? some : sample;
  const std::size_t rows = kPartSteps * first.n + kSteps * sample.n;
  for (std::size_t i = 0; i < kPartSteps + kSteps; ++i) {
    const Rows& used = i < kPartSteps ? first : sample;
    iterate(used, i == 0 || i == kPartSteps);
    count_work(work * used.n / rows);
  }
}

// k-means that compares rows with all centroids.
Partition train_by_all(const Rows& sample, const std::vector<float>& mean, std::size_t cells,
                       AssignmentRule rule, Random& random, std::uint64_t work) {
  LloydCentroids centroids(random_rows(sample, std::min(cells, sample.n), random), mean, rule);
  each_iteration(sample, cells, work, [&](const Rows& rows, bool) {
    Labels labels(rows.n);
    centroids.partition().assign(rows, labels.data());
    centroids.move(rows, labels);
  });
  return centroids.partition();
}

// The numbers of cells by group.
class Grouping {
 public:
  Grouping(const Labels& groups, std::size_t count) : starts_(count + 1, 0), order_(groups.size()) {
    for (const std::uint16_t group : groups) ++starts_[group + 1];
    std::partial_sum(starts_.begin(), starts_.end(), starts_.begin());
    std::vector<std::size_t> next(starts_.begin(), starts_.end() - 1);
    for (std::size_t i = 0; i < groups.size(); ++i) {
      order_[next[groups[i]]++] = static_cast<std::uint32_t>(i);
    }
  }

  const std::vector<std::uint32_t>& order() const { return order_; }
  const std::vector<std::size_t>& starts() const { return starts_; }  // of groups, and the end

 private:
  std::vector<std::size_t> starts_;
  std::vector<std::uint32_t> order_;
};

// One of Lloyd's iterations of many centroids. They are divided into groups by k-means, and a row
// is compared with the centroids of the groups nearest to it and of the group of its present one.
// The groups differ from iteration to iteration, so that a row meets in one what it misses in
// another. labels: the centroids of the rows; empty before the first iteration.
void move_by_groups(const Rows& rows, const std::vector<float>& mean, AssignmentRule rule,
                    Random& random, LloydCentroids& centroids, Labels& labels) {
  constexpr std::size_t kNearest = 4;  // groups
  const Rows all = centroids.rows();
  const auto count = static_cast<std::size_t>(std::sqrt(static_cast<double>(all.n)));
  const Partition groups = train_by_all(all, mean, count, rule, random, 0);
  Labels group_of(all.n), chosen(rows.n * kNearest);
  groups.assign(all, group_of.data());
  groups.nearest(rows, kNearest, chosen.data());
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const std::span nearest(chosen.data() + i * kNearest, kNearest);
    const std::uint16_t own = group_of[labels[i]];
    if (std::find(nearest.begin(), nearest.end(), own) == nearest.end()) nearest.back() = own;
  }
  const Grouping grouping(group_of, count);
  centroids.reorder(grouping.order());
  labels.resize(rows.n);
  centroids.partition().assign_among(rows, grouping.starts(), kNearest, chosen.data(),
                                     labels.data());
  centroids.move(rows, labels);
}

Partition train_by_groups(const Rows& sample, const std::vector<float>& mean, std::size_t cells,
                          AssignmentRule rule, Random& random, std::uint64_t work) {
  LloydCentroids centroids(random_rows(sample, cells, random), mean, rule);
  Labels labels;
  each_iteration(sample, cells, work, [&](const Rows& rows, bool other_rows) {
    if (other_rows) labels.clear();
    move_by_groups(rows, mean, rule, random, centroids, labels);
  });
  return centroids.partition();
}

}  // namespace

Partition train_partition(const Rows& sample, const std::vector<float>& mean, std::size_t cells,
                          AssignmentRule rule, std::uint64_t seed) {
  require(sample.n >= 1 && cells >= 1,
          "sample must have at least one row, and cells must be at least 1");
  constexpr std::size_t kFewCells = 4096;  // with more, comparing rows with all takes minutes
  cells = std::min(cells, sample.n);
  Random random(seed);
  const auto train = cells <= kFewCells ? train_by_all : train_by_groups;
  return train(sample, mean, cells, rule, random, kPartitionWork);
}

}  // namespace waterfill
