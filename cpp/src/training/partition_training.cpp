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

using CellSums = PartitionTraining::CellSums;
using Split = PartitionTraining::Split;

CellSums add_up(const Rows& rows, const Labels& cells, std::size_t count) {
  CellSums all{std::vector<double>(count * rows.d, 0.0), std::vector<std::uint32_t>(count, 0),
               std::vector<std::uint32_t>(count, 0)};
  for (std::size_t i = 0; i < rows.n; ++i) {
    double* sum = all.sums.data() + cells[i] * rows.d;
    for (std::size_t k = 0; k < rows.d; ++k) sum[k] += rows.row(i)[k];
    if (all.counts[cells[i]]++ == 0) all.first[cells[i]] = static_cast<std::uint32_t>(i);
  }
  return all;
}

// An empty cell splits the fullest one: it gets the first row of that.
std::vector<Split> splits_for_empty(const CellSums& sums) {
  std::vector<Split> splits;
  if (std::find(sums.counts.begin(), sums.counts.end(), 0u) == sums.counts.end()) return splits;
  struct Cell {
    std::uint32_t count, number;
    bool operator<(const Cell& other) const {  // of equally full ones the first is on top
      return count != other.count ? count < other.count : number > other.number;
    }
  };
  std::priority_queue<Cell> fullest;
  for (std::uint32_t c = 0; c < sums.counts.size(); ++c) fullest.push({sums.counts[c], c});
  for (std::uint32_t c = 0; c < sums.counts.size(); ++c) {
    if (sums.counts[c] > 0) continue;
    const Cell split = fullest.top();
    splits.push_back({c, sums.first[split.number]});
    fullest.pop();
    fullest.push({split.count / 2, split.number});
  }
  return splits;
}

// Moves centroids to the means of their rows; returns those that have none.
std::vector<Split> move_to_means(const CellSums& sums, std::vector<float>& centroids) {
  const std::size_t d = centroids.size() / sums.counts.size();
  for (std::size_t i = 0; i < centroids.size(); ++i) {
    const std::uint32_t count = sums.counts[i / d];
    if (count > 0) centroids[i] = static_cast<float>(sums.sums[i] / static_cast<double>(count));
  }
  return splits_for_empty(sums);
}

// Centroids under Lloyd's iterations.
class LloydCentroids {
 public:
  LloydCentroids(std::vector<float> centroids, const std::vector<float>& mean, AssignmentRule rule)
      : d_(mean.size()), rule_(rule), mean_(mean), centroids_(std::move(centroids)) {}

  Rows rows() const { return {centroids_.data(), centroids_.size() / d_, d_}; }
  Partition partition() const { return Partition(centroids_, mean_, rule_); }
  void reorder(std::span<const std::uint32_t> order) { centroids_ = rows_at(rows(), order); }

  void move(const Rows& rows, const Labels& cells) {
    for (const Split& split : move_to_means(add_up(rows, cells, this->rows().n), centroids_)) {
      std::copy_n(rows.row(split.row), d_, centroids_.data() + split.cell * d_);
    }
  }

 private:
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

// The numbers of distinct random rows.
std::vector<std::uint32_t> random_numbers(std::size_t n, std::size_t number, Random& random) {
  std::vector<std::uint32_t> order(n);
  std::iota(order.begin(), order.end(), std::uint32_t{0});
  for (std::size_t c = 0; c < number; ++c) {
    std::swap(order[c], order[c + static_cast<std::size_t>(random.next() % (n - c))]);
  }
  order.resize(number);
  return order;
}

std::vector<float> random_rows(const Rows& rows, std::size_t number, Random& random) {
  return rows_at(rows, random_numbers(rows.n, number, random));
}

// The first iterations need only a part of the rows.
std::size_t part_step(std::size_t n, std::size_t cells) {
  constexpr std::size_t kPartRows = 16;  // per cell
  return std::max<std::size_t>(1, n / (kPartRows * cells));
}

// What one step with `rows` rows is of the work of all steps, those with a part of the rows and
// those with all.
std::uint64_t work_of_step(std::uint64_t work, std::size_t rows, std::size_t part,
                           std::size_t all) {
  return work * rows / (PartitionTraining::kPartSteps * part + PartitionTraining::kSteps * all);
}

// k-means that compares rows with all centroids.
Partition train_by_all(const Rows& sample, const std::vector<float>& mean, std::size_t cells,
                       AssignmentRule rule, Random& random, std::uint64_t work) {
  PartitionTraining training(sample.n, mean, random_rows(sample, std::min(cells, sample.n), random),
                             rule);
  const std::vector<float> part =
      training.row_step() > 1 ? every(sample, training.row_step()) : std::vector<float>();
  const std::size_t part_rows = part.empty() ? sample.n : part.size() / sample.d;
  while (!training.done()) {
    const Rows rows =
        training.row_step() > 1 ? Rows{part.data(), part.size() / sample.d, sample.d} : sample;
    const Partition partition = training.partition();
    Labels labels(rows.n);
    partition.assign(rows, labels.data());
    for (const Split& split : training.move(add_up(rows, labels, partition.size()))) {
      training.set(split.cell, rows.row(split.row));
    }
    count_work(work_of_step(work, rows.n, part_rows, sample.n));
  }
  return training.partition();
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
  const std::size_t step = part_step(sample.n, cells);
  const std::vector<float> part = step > 1 ? every(sample, step) : std::vector<float>();
  const Rows some = step > 1 ? Rows{part.data(), part.size() / sample.d, sample.d} : sample;
  for (const Rows& rows : {some, sample}) {
    Labels labels;
    for (int i = 0; i < PartitionTraining::kSteps; ++i) {
      move_by_groups(rows, mean, rule, random, centroids, labels);
      count_work(work_of_step(work, rows.n, some.n, sample.n));
    }
  }
  return centroids.partition();
}

}  // namespace

PartitionTraining::PartitionTraining(std::size_t n, std::vector<float> mean,
                                     std::vector<float> centroids, AssignmentRule rule)
    : part_step_(part_step(n, centroids.size() / mean.size())),
      rule_(rule),
      mean_(std::move(mean)),
      centroids_(std::move(centroids)) {}

std::vector<Split> PartitionTraining::move(const CellSums& sums) {
  ++step_;
  return move_to_means(sums, centroids_);
}

void PartitionTraining::set(std::size_t cell, const float* row) {
  std::copy_n(row, mean_.size(), centroids_.data() + cell * mean_.size());
}

std::vector<std::uint32_t> partition_seeds(std::size_t n, std::size_t cells, std::uint64_t seed) {
  Random random(seed);
  return random_numbers(n, std::min(cells, n), random);
}

Partition train_partition(const Rows& sample, const std::vector<float>& mean, std::size_t cells,
                          AssignmentRule rule, std::uint64_t seed) {
  require(sample.n >= 1 && cells >= 1,
          "sample must have at least one row, and cells must be at least 1");
  cells = std::min(cells, sample.n);
  Random random(seed);
  const auto train = cells <= kFewCells ? train_by_all : train_by_groups;
  return train(sample, mean, cells, rule, random, kPartitionWork);
}

}  // namespace waterfill
