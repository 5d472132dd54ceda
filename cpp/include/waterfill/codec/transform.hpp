// The linear transform from vectors to the coordinates that are quantized.
//
//   stored:  u = (x - center) / rho, rho = |x - center|;   y_i = weight_i * <basis_i, u>
//   query:   q'_i = <basis_i, q> / weight_i,               so <q', y> = <q, u> on the basis
//
// Products are computed by our own kernels instead of BLAS: the summation order of BLAS depends on
// the number of rows and threads, and neither a code nor a score may depend on the other rows of a
// batch.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "waterfill/codec/fixed_point.hpp"
#include "waterfill/codec/log_scale.hpp"
#include "waterfill/core/aligned_vector.hpp"
#include "waterfill/core/types.hpp"

namespace waterfill {

// A d * p matrix packed in panels of columns, as the projection kernel reads it.
class PackedMatrix {
 public:
  PackedMatrix() = default;
  // entry(k, j) returns the value of row k, column j. each(n, fill) calls fill for each of n
  // panels, as parallel_for does.
  template <class Entry, class Each>
  PackedMatrix(std::size_t rows, std::size_t columns, Entry entry, Each each)
      : rows_(rows),
        panels_((columns + kColumns - 1) / kColumns),
        data_(panels_ * rows * kColumns, 0.0f) {
    each(panels_, [&](std::size_t panel) {
      float* values = data_.data() + panel * rows * kColumns;
      const std::size_t first = panel * kColumns, end = std::min(first + kColumns, columns);
      for (std::size_t j = first; j < end; ++j, ++values) {
        for (std::size_t k = 0; k < rows; ++k) values[k * kColumns] = entry(k, j);
      }
    });
  }
  template <class Entry>
  PackedMatrix(std::size_t rows, std::size_t columns, Entry entry)
      : PackedMatrix(rows, columns, entry, [](std::size_t n, const auto& fill) {
          for (std::size_t panel = 0; panel < n; ++panel) fill(panel);
        }) {}

  std::size_t stride() const;  // values of an output row: columns, padded to whole panels
  // y = x * matrix, for n rows of `rows` values; y has n * stride() values.
  void multiply(const float* x, std::size_t n, float* y) const;

 private:
  static constexpr std::size_t kColumns = 16;  // of a panel
  std::size_t rows_ = 0, panels_ = 0;
  Aligned<float> data_;
};

// Whether the rows of a matrix, of d values each, have norms of 1, up to rounding: sums of integer
// products fit 32 bits only then.
bool has_unit_rows(const std::vector<float>& matrix, std::size_t d);

// The points that rows are measured from: one for all rows, or the centroid of each row's cell.
struct CodingCenters {
  const float* points;
  const std::uint16_t* cells = nullptr;

  const float* of(std::size_t i, std::size_t d) const {
    return cells != nullptr ? points + cells[i] * d : points;
  }
};

class Transform {
 public:
  // basis: p orthonormal rows of d values; weights: p positive values.
  Transform(std::vector<float> mean, std::vector<float> basis, std::vector<float> weights);

  std::size_t d() const { return mean_.size(); }
  std::size_t p() const { return weights_.size(); }
  std::size_t stride() const { return to_codes_.stride(); }
  const std::vector<float>& mean() const { return mean_; }
  const std::vector<float>& basis() const { return basis_; }
  const std::vector<float>& weights() const { return weights_; }
  const Int16Matrix& int16_basis() const { return int16_basis_; }
  const Int8Matrix& int8_basis() const { return int8_basis_; }

  // y: n * stride() values; rho: n values. A row equal to its center gives rho 0 and y 0.
  void directions(const Rows& x, const CodingCenters& centers, float* y, float* rho) const;
  // The same in fixed point, for codes: y = scales * basis * u, n * stride() values. use_int8:
  // whether to take the int8 matrix. lengths: if not null, rho is rounded to this scale before the
  // division. A row that is not finite gets a rho of NaN, and any y.
  void fixed_directions(const Rows& x, const CodingCenters& centers, bool use_int8,
                        const float* scales, const LogScale* lengths, std::int16_t* y,
                        float* rho) const;
  // projected: n * stride() values.
  void queries(const Rows& q, float* projected) const;
  // The same in fixed point, for scans: exact to about 1e-5 of a query's length. Only the first
  // `columns` values of a row are needed, and whole panels are written. Squared norms must be
  // finite.
  void fixed_queries(const Rows& q, std::size_t columns, float* projected) const;
  // out = basis^T (y / weights): n rows of d values from n rows of p.
  void directions_from_codes(const float* y, std::size_t n, float* out) const;

 private:
  std::vector<float> mean_, basis_, weights_;
  PackedMatrix to_codes_, to_queries_, from_codes_;
  Int16Matrix int16_basis_;
  Int8Matrix int8_basis_;
  std::vector<float> int16_scales_;   // of products of unit queries as int16
  std::vector<float> query_weights_;  // from these products to coordinates; 0 for padding
};

}  // namespace waterfill
