#include "waterfill/codec/partition.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "codec/residual.hpp"
#include "waterfill/core/thread_pool.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kTaskRows = 64;
constexpr float kInt16 = 32767;

// The first c for which unit * products[c] - half_squares[c] is largest.
std::size_t best_of(const std::int16_t* products, float unit,
                    const std::vector<float>& half_squares, std::vector<float>& scores) {
  const std::size_t n = half_squares.size();
  constexpr std::size_t kWays = 16;  // independent maxima
  std::array<float, kWays> best;
  best.fill(-std::numeric_limits<float>::infinity());
  for (std::size_t c = 0; c < n; ++c) {
    scores[c] = static_cast<float>(products[c]) * unit - half_squares[c];
  }
  std::size_t c = 0;
  for (; c + kWays <= n; c += kWays) {
    for (std::size_t i = 0; i < kWays; ++i) {
      best[i] = scores[c + i] > best[i] ? scores[c + i] : best[i];
    }
  }
  float largest = *std::max_element(best.begin(), best.end());
  for (; c < n; ++c) largest = std::max(largest, scores[c]);
  return static_cast<std::size_t>(std::find(scores.begin(), scores.end(), largest) -
                                  scores.begin());
}

}  // namespace

Partition::Partition(std::vector<float> centroids, const std::vector<float>& mean)
    : centroids_(std::move(centroids)), mean_(mean) {
  const std::size_t d = mean_.size(), cells = d > 0 ? centroids_.size() / d : 0;
  require(cells >= 1 && cells <= kMaxCells && centroids_.size() == cells * d,
          "centroids must be 1 to " + std::to_string(kMaxCells) + " rows of " + std::to_string(d) +
              " values");
  std::vector<double> rows(centroids_.size()), squares(cells, 0.0);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    rows[i] = static_cast<double>(centroids_[i]) - mean_[i % d];
    squares[i / d] += rows[i] * rows[i];
  }
  largest_ = std::sqrt(*std::max_element(squares.begin(), squares.end()));
  const double inverse = largest_ > 0 ? 1 / largest_ : 0;
  for (const double square : squares) {
    half_squares_.push_back(static_cast<float>(square * inverse * inverse / 2));
  }
  std::vector<float> unit(rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) unit[i] = static_cast<float>(rows[i] * inverse);
  products_ = Int8Matrix(unit, cells, d);
  scales_.assign(products_.stride(), kInt16);
}

float Partition::length(std::size_t cell) const {
  constexpr double kLargest = std::numeric_limits<float>::max();
  return static_cast<float>(std::min(largest_ * std::sqrt(2.0 * half_squares_[cell]), kLargest));
}

std::vector<float> Partition::from_mean() const {
  std::vector<float> rows(centroids_);
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] -= mean_[i % mean_.size()];
  return rows;
}

void Partition::assign(const Rows& x, std::uint16_t* cells) const {
  parallel_for((x.n + kTaskRows - 1) / kTaskRows, [&](std::size_t task) {
    const std::size_t first = task * kTaskRows, n = std::min(kTaskRows, x.n - first);
    assign_block({x.row(first), n, x.d}, cells + first);
  });
}

void Partition::assign_block(const Rows& x, std::uint16_t* cells) const {
  const std::size_t width = products_.width(), stride = products_.stride();
  std::vector<float> row(x.d), units(x.n), relative(x.n, 0.0f), scores(size());
  std::vector<std::uint8_t> int8_rows(x.n * width);
  std::vector<std::int16_t> products(x.n * stride);
  for (std::size_t i = 0; i < x.n; ++i) {
    float factor;
    const Residual difference = scaled_residual(x.row(i), mean_.data(), factor, row);
    float norm = std::sqrt(difference.squares);
    if (!std::isfinite(norm)) {  // a row that is not finite gets any cell
      std::fill(row.begin(), row.end(), 0.0f);
      norm = 0;
    }
    units[i] =
        products_.quantize(row.data(), norm, difference.largest, int8_rows.data() + i * width);
    constexpr double kLargest = 1e30;
    if (largest_ > 0) {
      relative[i] =
          static_cast<float>(std::min(static_cast<double>(norm) / factor / largest_, kLargest));
    }
  }
  products_.multiply(int8_rows.data(), units.data(), x.n, scales_.data(), products.data());
  for (std::size_t i = 0; i < x.n; ++i) {
    const float unit = relative[i] / kInt16;
    cells[i] = static_cast<std::uint16_t>(
        best_of(products.data() + i * stride, unit, half_squares_, scores));
  }
}

void Partition::estimate(const Rows& rows, float* out, std::size_t stride) const {
  const std::size_t width = products_.width();
  std::vector<float> units(rows.n), norms(rows.n);
  std::vector<std::uint8_t> int8_rows(rows.n * width);
  std::vector<std::int16_t> products(rows.n * products_.stride());
  for (std::size_t i = 0; i < rows.n; ++i) {
    double squares = 0;
    float largest = 0;
    for (std::size_t k = 0; k < rows.d; ++k) {
      const float value = rows.row(i)[k];
      squares += static_cast<double>(value) * value;
      largest = std::max(largest, std::abs(value));
    }
    norms[i] = static_cast<float>(std::sqrt(squares));
    units[i] = products_.quantize(rows.row(i), norms[i], largest, int8_rows.data() + i * width);
  }
  products_.multiply(int8_rows.data(), units.data(), rows.n, scales_.data(), products.data());
  for (std::size_t i = 0; i < rows.n; ++i) {
    const auto unit = static_cast<float>(norms[i] * (largest_ / kInt16));
    const std::int16_t* own = products.data() + i * products_.stride();
    for (std::size_t c = 0; c < size(); ++c) {
      out[i * stride + c] = static_cast<float>(own[c]) * unit;
    }
  }
}

}  // namespace waterfill
