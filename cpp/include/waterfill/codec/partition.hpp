// A partition of the space into k-means cells.
//
// A vector is coded from the centroid of its cell, which is nearer than the mean. An index keeps
// its vectors cell by cell, so it need not store the cell of each vector.
#pragma once

#include <cstdint>
#include <vector>

#include "waterfill/codec/fixed_point.hpp"
#include "waterfill/core/types.hpp"

namespace waterfill {

inline constexpr std::size_t kMaxCells = 65536;  // cell numbers have 16 bits

class Partition {
 public:
  Partition() = default;  // no cells
  // centroids: rows of mean.size() values. Rows are compared with centroids relative to the mean.
  Partition(std::vector<float> centroids, const std::vector<float>& mean);

  bool empty() const { return centroids_.empty(); }
  std::size_t dim() const { return mean_.size(); }
  std::size_t size() const { return half_squares_.size(); }
  const std::vector<float>& centroids() const { return centroids_; }
  float length(std::size_t cell) const;  // |centroid - mean|
  // The centroids minus the mean.
  std::vector<float> from_mean() const;
  const float* centroid(std::size_t cell) const { return centroids_.data() + cell * mean_.size(); }

  // The cell with the nearest centroid for each row. Distances are computed in int8, so cells are
  // the same on every machine; a row between two centroids may get the second nearest.
  void assign(const Rows& x, std::uint16_t* cells) const;
  // Approximate products of rows with `from_mean` (about seven bits), for a ranking of the cells.
  // out: size() values per row, `stride` apart.
  void estimate(const Rows& rows, float* out, std::size_t stride) const;

 private:
  void assign_block(const Rows& x, std::uint16_t* cells) const;

  std::vector<float> centroids_, mean_;
  double largest_ = 0;               // max |centroid - mean|, the unit of the values below
  std::vector<float> half_squares_;  // |centroid - mean|^2 / 2
  Int8Matrix products_;              // with centroid - mean
  std::vector<float> scales_;
};

}  // namespace waterfill
