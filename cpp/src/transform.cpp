#include "waterfill/transform.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "kernels.hpp"

namespace waterfill {

template <class Entry>
PackedMatrix::PackedMatrix(std::size_t rows, std::size_t columns, Entry entry)
    : rows_(rows), panels_((columns + kPanel - 1) / kPanel), data_(panels_ * rows * kPanel, 0.0f) {
  for (std::size_t j = 0; j < columns; ++j) {
    float* panel = data_.data() + (j / kPanel) * rows * kPanel + j % kPanel;
    for (std::size_t k = 0; k < rows; ++k) panel[k * kPanel] = entry(k, j);
  }
}

std::size_t PackedMatrix::stride() const {
  return panels_ * kPanel;
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
  rotation_ = FixedRotation(basis_, p, d);
  to_codes_ = PackedMatrix(
      d, p, [&](std::size_t k, std::size_t j) { return weights_[j] * basis_[j * d + k]; });
  to_queries_ = PackedMatrix(
      d, p, [&](std::size_t k, std::size_t j) { return basis_[j * d + k] / weights_[j]; });
  from_codes_ = PackedMatrix(
      p, d, [&](std::size_t j, std::size_t k) { return basis_[j * d + k] / weights_[j]; });
}

void Transform::directions(const Rows& x, float* y, float* rho) const {
  std::vector<float> u(x.n * d());
  for (std::size_t i = 0; i < x.n; ++i) {
    float* row = u.data() + i * d();
    double squares = 0;
    for (std::size_t k = 0; k < d(); ++k) {
      row[k] = x.row(i)[k] - mean_[k];
      squares += static_cast<double>(row[k]) * row[k];
    }
    const double norm = std::sqrt(squares);
    rho[i] = static_cast<float>(norm);
    const double inverse = norm > 0 ? 1 / norm : 0;  // beyond float32 for the shortest rows
    for (std::size_t k = 0; k < d(); ++k) row[k] = static_cast<float>(row[k] * inverse);
  }
  to_codes_.multiply(u.data(), x.n, y);
}

namespace {

// out = factor * (row - mean); returns its length. Eight sums, so that additions overlap.
double centre(const float* row, const float* mean, float factor, std::size_t d, float* out) {
  constexpr std::size_t kSums = 8;
  std::array<double, kSums> squares{};
  std::size_t k = 0;
  for (; k + kSums <= d; k += kSums) {
    for (std::size_t l = 0; l < kSums; ++l) {
      out[k + l] = factor * row[k + l] - factor * mean[k + l];
      squares[l] += static_cast<double>(out[k + l]) * out[k + l];
    }
  }
  for (; k < d; ++k) {
    out[k] = factor * row[k] - factor * mean[k];
    squares[0] += static_cast<double>(out[k]) * out[k];
  }
  return std::sqrt(((squares[0] + squares[1]) + (squares[2] + squares[3])) +
                   ((squares[4] + squares[5]) + (squares[6] + squares[7])));
}

}  // namespace

void Transform::fixed_directions(const Rows& x, std::int16_t* u, float* rho) const {
  constexpr float kHalf = 0.5f, kMuch = 0x1p100f;
  constexpr double kShort = 1e-30;
  std::vector<float> shifted(d());
  for (std::size_t i = 0; i < x.n; ++i) {
    float factor = 1;
    double norm = centre(x.row(i), mean_.data(), factor, d(), shifted.data());
    if (!std::isfinite(norm)) {  // the difference of two of the largest numbers
      norm = centre(x.row(i), mean_.data(), factor = kHalf, d(), shifted.data());
    } else if (norm < kShort) {
      norm = centre(x.row(i), mean_.data(), factor = kMuch, d(), shifted.data());
    }
    rho[i] = static_cast<float>(norm / factor);
    const float to_fixed = norm > 0 ? static_cast<float>(kFixedOne / norm) : 0.0f;
    std::int16_t* out = u + i * rotation_.width();
    for (std::size_t k = 0; k < d(); ++k) {
      out[k] = static_cast<std::int16_t>(round_small(shifted[k] * to_fixed));
    }
    if (d() % 2 == 1) out[d()] = 0;
  }
}

void Transform::queries(const Rows& q, float* projected) const {
  to_queries_.multiply(q.data, q.n, projected);
}

void Transform::directions_from_codes(const float* y, std::size_t n, float* out) const {
  std::vector<float> padded(n * from_codes_.stride());
  from_codes_.multiply(y, n, padded.data());
  for (std::size_t i = 0; i < n; ++i) {
    std::copy_n(padded.data() + i * from_codes_.stride(), d(), out + i * d());
  }
}

}  // namespace waterfill
