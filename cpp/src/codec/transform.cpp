#include "waterfill/codec/transform.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "codec/residual.hpp"
#include "kernels.hpp"

namespace waterfill {

bool has_unit_rows(const std::vector<float>& matrix, std::size_t d) {
  constexpr double kTolerance = 0.02;
  for (std::size_t first = 0; first < matrix.size(); first += d) {
    double squares = 0;
    for (std::size_t k = first; k < first + d; ++k) {
      squares += static_cast<double>(matrix[k]) * matrix[k];
    }
    if (!(std::abs(std::sqrt(squares) - 1) <= kTolerance)) return false;
  }
  return true;
}

std::size_t PackedMatrix::stride() const {
  static_assert(kColumns == kPanel);
  return panels_ * kColumns;
}

void PackedMatrix::multiply(const float* x, std::size_t n, float* y) const {
  kernels().project(x, n, rows_, data_.data(), panels_, y);
}

Transform::Transform(std::vector<float> mean, std::vector<float> basis, std::vector<float> weights)
    : mean_(std::move(mean)), basis_(std::move(basis)), weights_(std::move(weights)) {
  const std::size_t d = mean_.size(), p = weights_.size();
  require(d >= 1 && p >= 1, "mean and weights must not be empty");
  require(basis_.size() == p * d,
          "basis must have " + std::to_string(p) + " rows of " + std::to_string(d) + " values");
  for (const float weight : weights_) {
    require(std::isfinite(weight) && weight > 0, "weights must be finite and positive");
  }
  int16_basis_ = Int16Matrix(basis_, p, d);
  int8_basis_ = Int8Matrix(basis_, p, d);
  to_codes_ = PackedMatrix(
      d, p, [&](std::size_t k, std::size_t j) { return weights_[j] * basis_[j * d + k]; });
  to_queries_ = PackedMatrix(
      d, p, [&](std::size_t k, std::size_t j) { return basis_[j * d + k] / weights_[j]; });
  from_codes_ = PackedMatrix(
      p, d, [&](std::size_t j, std::size_t k) { return basis_[j * d + k] / weights_[j]; });
  int16_scales_.assign(stride(), kFixedOne);
  query_weights_.assign(stride(), 0.0f);
  for (std::size_t j = 0; j < p; ++j) query_weights_[j] = 1 / (kFixedOne * weights_[j]);
}

void Transform::directions(const Rows& x, const CodingCenters& centers, float* y,
                           float* rho) const {
  std::vector<float> row(d()), u(x.n * d());
  for (std::size_t i = 0; i < x.n; ++i) {
    float factor;
    const float norm =
        std::sqrt(scaled_residual(x.row(i), centers.of(i, d()), factor, row).squares);
    rho[i] = norm / factor;
    const float inverse = norm > 0 ? 1 / norm : 0.0f;
    for (std::size_t k = 0; k < d(); ++k) u[i * d() + k] = row[k] * inverse;
  }
  to_codes_.multiply(u.data(), x.n, y);
}

void Transform::fixed_directions(const Rows& x, const CodingCenters& centers, bool use_int8,
                                 const float* scales, const LogScale* lengths, std::int16_t* y,
                                 float* rho) const {
  std::vector<float> row(d()), units(x.n);
  std::vector<std::int16_t> int16_rows(use_int8 ? 0 : x.n * int16_basis_.width());
  std::vector<std::uint8_t> int8_rows(use_int8 ? x.n * int8_basis_.width() : 0);
  for (std::size_t i = 0; i < x.n; ++i) {
    float factor;
    const Residual difference = scaled_residual(x.row(i), centers.of(i, d()), factor, row);
    float norm = std::sqrt(difference.squares);
    rho[i] = norm / factor;
    if (!std::isfinite(norm)) {
      rho[i] = std::numeric_limits<float>::quiet_NaN();
      std::fill(row.begin(), row.end(), 0.0f);
      norm = 0;
    }
    if (lengths != nullptr) norm = lengths->rounded(rho[i]) * factor;
    if (use_int8) {
      units[i] = int8_basis_.quantize(row.data(), norm, difference.largest,
                                      int8_rows.data() + i * int8_basis_.width());
    } else {
      int16_basis_.quantize(row.data(), norm, int16_rows.data() + i * int16_basis_.width());
    }
  }
  if (use_int8) return int8_basis_.multiply(int8_rows.data(), units.data(), x.n, scales, y);
  int16_basis_.multiply(int16_rows.data(), x.n, scales, y);
}

void Transform::queries(const Rows& q, float* projected) const {
  to_queries_.multiply(q.data, q.n, projected);
}

void Transform::fixed_queries(const Rows& q, std::size_t columns, float* projected) const {
  const std::size_t width = int16_basis_.width(), panels = (columns + kPanel - 1) / kPanel;
  const auto product = kernels().rows.product.float32;
  std::vector<std::int16_t> units(q.n * width), products(q.n * panels * kPanel);
  std::vector<float> norms(q.n);
  for (std::size_t i = 0; i < q.n; ++i) {
    norms[i] = std::sqrt(product(q.row(i), q.row(i), q.d));
    int16_basis_.quantize(q.row(i), norms[i], units.data() + i * width);
  }
  int16_basis_.multiply(units.data(), q.n, int16_scales_.data(), panels, products.data());
  for (std::size_t i = 0; i < q.n; ++i) {
    const std::int16_t* own = products.data() + i * panels * kPanel;
    float* row = projected + i * stride();
    for (std::size_t j = 0; j < panels * kPanel; ++j) {
      row[j] = static_cast<float>(own[j]) * query_weights_[j] * norms[i];
    }
  }
}

void Transform::directions_from_codes(const float* y, std::size_t n, float* out) const {
  std::vector<float> padded(n * from_codes_.stride());
  from_codes_.multiply(y, n, padded.data());
  for (std::size_t i = 0; i < n; ++i) {
    std::copy_n(padded.data() + i * from_codes_.stride(), d(), out + i * d());
  }
}

}  // namespace waterfill
