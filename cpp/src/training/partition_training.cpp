#include "waterfill/training/partition_training.hpp"

#include <algorithm>
#include <numeric>

#include "core/random.hpp"

namespace waterfill {
namespace {

// Centroids under Lloyd's iterations.
class LloydCentroids {
 public:
  LloydCentroids(const Rows& rows, const std::vector<float>& mean, std::size_t cells,
                 AssignmentRule rule, Random& random)
      : d_(rows.d), rule_(rule), mean_(mean), centroids_(cells * rows.d) {
    std::vector<std::size_t> order(rows.n);
    std::iota(order.begin(), order.end(), std::size_t{0});
    for (std::size_t c = 0; c < cells; ++c) {  // distinct random rows
      std::swap(order[c], order[c + static_cast<std::size_t>(random.next() % (rows.n - c))]);
      std::copy_n(rows.row(order[c]), d_, at(c));
    }
  }

  void step(const Rows& rows) {
    std::vector<std::uint16_t> cells(rows.n);
    Partition(centroids_, mean_, rule_).assign(rows, cells.data());
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
    for (std::size_t c = 0; c < counts.size(); ++c) {  // an empty cell splits the fullest one
      if (counts[c] > 0) continue;
      const auto fullest =
          static_cast<std::size_t>(std::max_element(counts.begin(), counts.end()) - counts.begin());
      std::copy_n(rows.row(first[fullest]), d_, at(c));
      counts[fullest] /= 2;
    }
  }

  Partition take() { return Partition(std::move(centroids_), mean_, rule_); }

 private:
  float* at(std::size_t c) { return centroids_.data() + c * d_; }

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

}  // namespace

Partition train_partition(const Rows& sample, const std::vector<float>& mean, std::size_t cells,
                          AssignmentRule rule, std::uint64_t seed) {
  require(sample.n >= 1 && cells >= 1,
          "sample must have at least one row, and cells must be at least 1");
  Random random(seed);
  LloydCentroids centroids(sample, mean, std::min(cells, sample.n), rule, random);
  // The first iterations need only a part of the rows.
  constexpr std::size_t kPartRows = 16;  // rows per cell
  constexpr int kPartSteps = 8, kSteps = 8;
  const std::size_t step = std::max<std::size_t>(1, sample.n / (kPartRows * cells));
  const std::vector<float> part = every(sample, step);
  for (int i = 0; i < kPartSteps; ++i) {
    centroids.step({part.data(), part.size() / sample.d, sample.d});
  }
  for (int i = 0; i < kSteps; ++i) centroids.step(sample);
  return centroids.take();
}

}  // namespace waterfill
