// k-means cells of the space. A vector is coded from the centroid of its cell, which is nearer than
// the mean of all; an index that keeps vectors cell by cell need not store which one it is.
#pragma once

#include <cstdint>
#include <vector>

#include "waterfill/codec/fixed_point.hpp"
#include "waterfill/core/types.hpp"

namespace waterfill {

inline constexpr std::size_t kMaxCells = 65536;  // a cell's number has 16 bits

class Partition {
 public:
  Partition() = default;  // no cells
  // centroids: rows of mean.size() values. The mean is where rows are measured from to compare them
  // with centroids.
  Partition(std::vector<float> centroids, const std::vector<float>& mean);

  bool empty() const { return centroids_.empty(); }
  std::size_t dim() const { return mean_.size(); }
  std::size_t size() const { return half_squares_.size(); }
  const std::vector<float>& centroids() const { return centroids_; }
  float length(std::size_t cell) const;  // |centroid - mean|
  // Centroids from the mean.
  std::vector<float> from_mean() const;
  const float* centroid(std::size_t cell) const { return centroids_.data() + cell * mean_.size(); }

  // The cell of each row: that of the nearest centroid by distances of short integers, so that it
  // is the same on every machine. A row between two centroids may be given to the second nearest.
  void assign(const Rows& x, std::uint16_t* cells) const;
  // Products of rows with the centroids from the mean, to some seven bits: enough to tell which are
  // large. out: size() values a row, `stride` apart.
  void estimate(const Rows& rows, float* out, std::size_t stride) const;

 private:
  void assign_few(const Rows& x, std::uint16_t* cells) const;

  std::vector<float> centroids_, mean_;
  double largest_ = 0;               // |centroid - mean| of the farthest, the unit of what follows
  std::vector<float> half_squares_;  // |centroid - mean|^2 / 2
  ShortMatrix products_;             // with centroid - mean
  std::vector<float> scales_;
};

// k-means (Lloyd 1982) on a sample: `cells` centroids, at most as many as there are rows. The
// result depends on the rows and the seed alone.
Partition train_partition(const Rows& sample, const std::vector<float>& mean, std::size_t cells,
                          std::uint64_t seed);

}  // namespace waterfill
