// The rows of a graph: a byte per dimension, in the eigenbasis, of which a search reads one cache
// line first.
//
//   x = mean + sum_j y_j e_j;   y_j is about scale * step_j * (byte_j - 127.5)
//
// Steps are in proportion to a power of each dimension's deviation. A row's front line has two
// floats for scores, a third for the front, and the high nibbles of the first 104 dimensions; the
// rest of the row has their low nibbles and the bytes of the other dimensions. So the front is a
// code of its own, and nothing is stored twice.
//
// Products are those of integers, and the same on every machine. `scale` is such that the product
// of a row with itself is exact: errors then grow with the distance from the query, and not with
// the query.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "waterfill/codec/transform.hpp"
#include "waterfill/core/aligned_vector.hpp"
#include "waterfill/core/prefetch.hpp"
#include "waterfill/core/types.hpp"

namespace waterfill {

// The coordinates of rows.
class GraphSpace {
 public:
  // basis: d orthonormal rows of d values; steps: d positive values.
  GraphSpace(std::vector<float> mean, std::vector<float> basis, std::vector<float> steps);

  std::size_t d() const { return mean_.size(); }
  const std::vector<float>& mean() const { return mean_; }
  const std::vector<float>& basis() const { return basis_; }
  const std::vector<float>& steps() const { return steps_; }
  const std::vector<float>& coordinates_of_mean() const { return mean_coordinates_; }

  // y: n rows of d coordinates of x - mean.
  void rotate(const Rows& x, float* y) const;
  // x: n rows, from coordinates.
  void restore(const float* y, std::size_t n, float* x) const;

 private:
  std::vector<float> mean_, basis_, steps_, mean_coordinates_;
  PackedMatrix to_coordinates_, from_coordinates_;
};

// What a query's products with rows need.
struct GraphQuery {
  Aligned<std::int8_t> front, high, low;  // weights, as the kernels take them
  // The product with a row's direction is factor * sum + offset.
  float factor = 0, offset = 0, front_factor = 0, front_offset = 0;
  float spread = 0;  // deviation of the front's product from the full one, per unit of scale
};

class GraphRows {
 public:
  static constexpr std::size_t kLineBytes = 64;  // of a front line

  GraphRows(GraphSpace space, Metric metric);

  const GraphSpace& space() const { return space_; }
  Metric metric() const { return metric_; }
  std::size_t size() const { return size_; }
  std::size_t d() const { return space_.d(); }
  std::size_t row_bytes() const;
  std::size_t bytes() const;

  // Appends rows of coordinates.
  void append(const float* y, std::size_t n);
  void reserve(std::size_t n);
  void truncate(std::size_t n) noexcept;
  // Keeps the rows whose bit in `drop` is not set, in their order.
  void remove(const std::vector<std::uint64_t>& drop) noexcept;

  void prepare(const float* y, GraphQuery& query) const;
  // As the query of a stored row.
  void prepare_row(std::size_t row, GraphQuery& query) const;
  // Coordinates of a row.
  void decode(std::size_t row, float* y) const;

  // For inner products <q - mean, y> + <mean, y>, for L2 <q - mean, y> - |y|^2 / 2. The last term
  // is the row's bias.
  float score(const GraphQuery& query, std::size_t row) const;
  // Scores of fronts, and the deviation of full scores from them.
  void front_scores(const GraphQuery& query, const std::uint32_t* rows, std::size_t n,
                    float* scores) const;
  float spread(const GraphQuery& query, std::size_t row) const;
  float bias(std::size_t row) const;

  void prefetch_front(std::size_t row) const { prefetch_line(line(row)); }
  void prefetch_rest(std::size_t row) const;

  // For files: arrays of size() rows. `load` replaces all rows; it throws InvalidArgument unless
  // the heads of rows are finite.
  const std::uint8_t* lines() const { return lines_.data(); }
  const std::uint8_t* rests() const;
  std::size_t rest_bytes() const { return rest_bytes_; }
  static std::size_t rest_bytes(std::size_t d);
  void resize(std::size_t n);
  std::uint8_t* own_lines() { return lines_.data(); }
  std::uint8_t* own_rests();
  bool valid() const;

 private:
  const std::uint8_t* line(std::size_t row) const;
  const std::uint8_t* rest(std::size_t row) const;
  void encode(const float* y, std::size_t row);

  GraphSpace space_;
  Metric metric_;
  std::size_t tail_, rest_bytes_, size_ = 0;
  Aligned<std::uint8_t> lines_;
  Aligned<std::uint8_t> rests_;  // with a line before and behind the rows
};

}  // namespace waterfill
