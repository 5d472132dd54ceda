// A partition of the space into k-means cells.
//
// A vector is coded from the centroid of its cell, which is nearer than the mean. An index keeps
// its vectors cell by cell, so it need not store the cell of each vector.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "waterfill/codec/fixed_point.hpp"
#include "waterfill/core/types.hpp"

namespace waterfill {

inline constexpr std::size_t kMaxCells = 65536;  // cell numbers have 16 bits

// How a row finds its cell.
enum class AssignmentRule : std::uint32_t {
  nearest = 0,    // the nearest centroid
  direction = 1,  // the centroid with the largest <x, c> / |c|: for vectors of constant norm
};

class Partition {
 public:
  Partition() = default;  // no cells
  // centroids: rows of mean.size() values. Rows are compared with centroids relative to the mean.
  Partition(std::vector<float> centroids, const std::vector<float>& mean,
            AssignmentRule rule = AssignmentRule::nearest);

  bool empty() const { return centroids_.empty(); }
  std::size_t dim() const { return mean_.size(); }
  std::size_t size() const { return half_squares_.size(); }
  const std::vector<float>& centroids() const { return centroids_; }
  AssignmentRule rule() const { return rule_; }
  bool by_direction() const { return rule_ == AssignmentRule::direction; }
  float length(std::size_t cell) const;  // |centroid - mean|
  // The centroids minus the mean.
  std::vector<float> from_mean() const;
  // The vectors that rows are compared with: the centroids, by direction divided by their norms. A
  // centroid of zeros stays zero.
  std::vector<float> routing_vectors() const;
  // By direction: <q, c> / |c|, by which lists rank, from <q - origin, c - mean>, <q - origin,
  // mean> and the share of the mean in the origin: 0 or 1.
  float direction_product(std::size_t cell, float product, float mean_product,
                          float mean_share) const {
    return (product + mean_product) * inverse_norms_[cell] + mean_share * mean_products_[cell];
  }
  const float* centroid(std::size_t cell) const { return centroids_.data() + cell * mean_.size(); }

  // The cell of each row by the rule. Products are computed in int8, so cells are the same on every
  // machine; a row between two centroids may get the second best.
  void assign(const Rows& x, std::uint16_t* cells) const;
  // The `number` best cells of each row by the rule, best first.
  void nearest(const Rows& x, std::size_t number, std::uint16_t* cells) const;
  // The best cell of each row among those of `number` runs, and of a few others beside them.
  // runs: the first cell of each run, ascending, and the end; chosen: the runs of each row.
  void assign_among(const Rows& x, std::span<const std::size_t> runs, std::size_t number,
                    const std::uint16_t* chosen, std::uint16_t* cells) const;
  // Approximate products of a row with the matrix (about seven bits), for a ranking of the cells.
  struct Estimate {
    const std::int16_t* products = nullptr;  // size() values, in multiples of `unit`
    float unit = 0;
    float origin_product = 0, mean_product = 0;  // by direction: of the row
  };
  std::size_t estimate_stride() const { return products_.stride(); }
  // products: estimate_stride() values per row, which the estimates refer to.
  void estimate(const Rows& rows, std::int16_t* products, Estimate* estimates) const;
  // The product of the row with `from_mean` of a cell.
  float product(const Estimate& row, std::size_t cell) const {
    const float product = static_cast<float>(row.products[cell]) * row.unit;
    if (!by_direction()) return product;
    return norms_[cell] * (product + row.origin_product) - row.mean_product;
  }
  // What `assign` compares rows with: a row's cell has the largest |x - mean| / unit * product -
  // bias, with the products of `matrix` times `matrix_scales`.
  const Int8Matrix& matrix() const { return products_; }
  const std::vector<float>& matrix_scales() const { return scales_; }
  const std::vector<float>& biases() const { return biases_; }
  double unit() const { return unit_; }
  // By direction: <mean, c> / |c| of all cells.
  const float* mean_products() const { return mean_products_.data(); }

 private:
  void compare_directions();
  void set_products(std::vector<double> rows, double largest);
  // n rows as `products_` takes them, and |x - mean| / unit_.
  struct Quantized {
    Quantized(std::size_t n, std::size_t width) : values(n * width), units(n), relative(n) {}
    std::vector<std::uint8_t> values;
    std::vector<float> units, relative;
  };
  // The best cell so far of a row.
  struct Best {
    float score = -std::numeric_limits<float>::infinity();
    std::size_t cell = 0;
  };
  Quantized quantize(const Rows& x) const;
  void compare(const Quantized& rows, std::size_t n, std::size_t first_panel,
               std::size_t last_panel, std::vector<std::int16_t>& products, Best* best) const;
  void nearest_in_block(const Rows& x, std::size_t number, std::uint16_t* cells) const;
  void assign_block(const Rows& x, std::uint16_t* cells) const;
  void assign_block_among(const Rows& x, std::span<const std::size_t> runs, std::size_t number,
                          const std::uint16_t* chosen, std::uint16_t* cells) const;

  std::vector<float> centroids_, mean_;
  AssignmentRule rule_ = AssignmentRule::nearest;
  double largest_ = 0;               // max |centroid - mean|, the unit of the next values
  std::vector<float> half_squares_;  // |centroid - mean|^2 / 2
  // A row's cell has the largest |x - mean| / unit_ * product - bias.
  double unit_ = 0;
  std::vector<float> biases_;
  // With the rows centroid - mean, or by direction centroid / |centroid| - origin_, divided by the
  // largest norm of these rows, matrix_unit_.
  Int8Matrix products_;
  double matrix_unit_ = 0;
  std::vector<float> scales_;
  // By direction only. origin_: the mean of the directions, which they have in common.
  std::vector<float> origin_;
  std::vector<float> norms_, inverse_norms_;  // of the centroids; 0 for the inverse of 0
  std::vector<float> mean_products_;          // <mean, c> / |c|
};

}  // namespace waterfill
