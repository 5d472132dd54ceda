// Training of a partition: k-means over whole vectors.
#pragma once

#include <cstdint>
#include <vector>

#include "waterfill/codec/partition.hpp"

namespace waterfill {

// The work that `train_partition` counts, about in proportion to its time.
inline constexpr std::uint64_t kPartitionWork = 1'000'000;

// Lloyd's k-means (Lloyd 1982) on a sample, with min(cells, sample.n) centroids; by direction it is
// spherical k-means (Dhillon and Modha 2001), with means that keep their length. Rows are compared
// with all of up to 4,096 centroids, or with some hundreds of more (decision 0033). The result
// depends only on the rows, the rule and the seed.
Partition train_partition(const Rows& sample, const std::vector<float>& mean, std::size_t cells,
                          AssignmentRule rule, std::uint64_t seed);

// The same for up to kFewCells, step by step: rows are assigned to the cells of `partition` and
// added up, and `move` moves the centroids, until `done`. A device may look at the rows; the sums
// are those of float64 in the order of rows.
class PartitionTraining {
 public:
  static constexpr int kPartSteps = 8, kSteps = 8;  // with a part of the rows, and with all

  // Of each cell: the sums of its rows, their number, and the number of the first, if it has any.
  struct CellSums {
    std::vector<double> sums;
    std::vector<std::uint32_t> counts, first;
  };
  // A centroid without rows, and the row that it moves to.
  struct Split {
    std::uint32_t cell, row;
  };

  // n: rows. centroids: the first ones, of the rows of partition_seeds.
  PartitionTraining(std::size_t n, std::vector<float> mean, std::vector<float> centroids,
                    AssignmentRule rule);

  std::size_t cells() const { return centroids_.size() / dim(); }
  std::size_t dim() const { return mean_.size(); }
  bool done() const { return step_ == kPartSteps + kSteps; }
  // The rows of this step: 0, row_step(), 2 * row_step(), ...
  std::size_t row_step() const { return step_ < kPartSteps ? part_step_ : 1; }
  const std::vector<float>& centroids() const { return centroids_; }
  Partition partition() const { return Partition(centroids_, mean_, rule_); }
  // The centroids that it returns have no rows, and must be set to others.
  std::vector<Split> move(const CellSums& sums);
  void set(std::size_t cell, const float* row);

 private:
  std::size_t part_step_;
  int step_ = 0;
  AssignmentRule rule_;
  std::vector<float> mean_, centroids_;
};

// The numbers of the rows that the first min(cells, n) centroids are.
std::vector<std::uint32_t> partition_seeds(std::size_t n, std::size_t cells, std::uint64_t seed);

inline constexpr std::size_t kFewCells = 4096;  // with more, comparing rows with all takes minutes

}  // namespace waterfill
