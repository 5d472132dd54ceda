// k-means with 256 centroids, for the codebook of one group.
//
// KMeans decides, and others look at rows: the CPU in `kmeans`, or a device that has them in its
// memory. What it gets to know of rows does not depend on their order: integer sums of coordinates
// in fixed point. So the same codebook comes from both.
#pragma once

#include <cstdint>
#include <vector>

#include "waterfill/core/types.hpp"

namespace waterfill {

// The smallest and the largest coordinate of a group.
struct ValueRange {
  float low = 0, high = 0;
};

// The sums of the rows of each centroid, in fixed point.
struct CentroidSums {
  std::vector<std::int64_t> sums;           // 256 rows of `width` values
  std::vector<std::uint64_t> counts;        // rows
  std::uint64_t squares_low, squares_high;  // the sum of all squares: high * 2^32 + low
};

// Lloyd's algorithm, step by step: rows are assigned to the centroids and added up, and `update`
// moves the centroids, until `done`. Then the centroids have the order of coarse_order.
class KMeans {
 public:
  // n: rows.
  KMeans(std::size_t width, std::size_t n, std::uint64_t seed, int iterations);

  // The seeds are chosen from every so many rows, or, in one dimension, from a histogram of all.
  std::size_t seed_step() const;
  static double bin_width(const ValueRange& range);
  void start(const ValueRange& range, const Rows& seeds);
  void start(const ValueRange& range, const std::vector<std::uint32_t>& histogram);

  bool done() const { return phase_ == Phase::done; }
  // The rows of this step: 0, row_step(), 2 * row_step(), ..., and their number.
  std::size_t row_step() const { return phase_ == Phase::part ? part_step_ : 1; }
  std::size_t rows() const { return phase_ == Phase::part ? n_ / part_step_ : n_; }
  std::size_t width() const { return width_; }
  float unit() const { return unit_; }                      // factor to the fixed point of sums
  const std::vector<float>& book() const { return book_; }  // `width` rows of 256 values
  // The rows of each centroid in the last step.
  const std::vector<std::uint64_t>& counts() const { return counts_; }

  void update(CentroidSums sums);
  // Centroids without rows move to the rows with the largest errors. While there are such
  // centroids: the rows to pass to `repair`, given the squared distances of all rows of the step
  // from `book`, by the centroids that they were assigned to.
  bool has_empty() const { return !empty_.empty(); }
  std::vector<std::uint32_t> worst_rows(const std::vector<float>& errors) const;
  void repair(const std::vector<float>& rows);

 private:
  // The first iterations need only a part of the rows. When the centroids stay, rows are counted;
  // and once more after the centroids got their order, if some have none.
  enum class Phase { part, all, count, recount, done };

  void set_centroid(std::size_t c, const float* value);
  void move_to_means(const CentroidSums& sums);
  void finish_step(bool moved);
  void put_in_order();

  std::size_t width_, n_, part_step_;
  std::uint64_t seed_;
  int iterations_, step_ = 0;
  Phase phase_;
  float unit_ = 1;
  double error_ = 0, last_error_ = 0;  // sums of squared distances, in fixed point
  std::vector<float> book_;
  std::vector<std::uint64_t> counts_;
  std::vector<std::uint32_t> empty_;
};

// Trains a codebook from rows in memory.
KMeans kmeans(const Rows& y, std::uint64_t seed, int iterations);

}  // namespace waterfill
