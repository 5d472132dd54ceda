#include "waterfill/codec/partition.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <span>

#include "codec/residual.hpp"
#include "kernels.hpp"
#include "waterfill/core/thread_pool.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kTaskRows = 64;
constexpr std::size_t kTilePanels = 32;  // whose products with these rows stay in the cache
constexpr float kInt16 = 32767;

double dot(const float* a, const float* b, std::size_t n) {
  double sum = 0;
  for (std::size_t k = 0; k < n; ++k) sum += static_cast<double>(a[k]) * b[k];
  return sum;
}

// scores[c] = unit * products[c] - biases[c]
void score(const std::int16_t* products, float unit, const float* biases, std::span<float> scores) {
  for (std::size_t c = 0; c < scores.size(); ++c) {
    scores[c] = static_cast<float>(products[c]) * unit - biases[c];
  }
}

// The first of the largest values; their number if all are NaN.
std::size_t largest_of(std::span<const float> values) {
  constexpr std::size_t kWays = 16;  // independent maxima
  std::array<float, kWays> most;
  most.fill(-std::numeric_limits<float>::infinity());
  std::size_t c = 0;
  for (; c + kWays <= values.size(); c += kWays) {
    for (std::size_t i = 0; i < kWays; ++i) {
      most[i] = values[c + i] > most[i] ? values[c + i] : most[i];
    }
  }
  float largest = *std::max_element(most.begin(), most.end());
  for (; c < values.size(); ++c) largest = std::max(largest, values[c]);
  return static_cast<std::size_t>(std::find(values.begin(), values.end(), largest) -
                                  values.begin());
}

}  // namespace

Partition::Partition(std::vector<float> centroids, const std::vector<float>& mean,
                     AssignmentRule rule)
    : centroids_(std::move(centroids)), mean_(mean), rule_(rule) {
  const std::size_t d = mean_.size(), cells = d > 0 ? centroids_.size() / d : 0;
  require(cells >= 1 && cells <= kMaxCells && centroids_.size() == cells * d,
          "centroids must be 1 to " + std::to_string(kMaxCells) + " rows of " + std::to_string(d) +
              " values");
  std::vector<double> rows(centroids_.size()), squares(cells, 0.0);
  for (std::size_t c = 0; c < cells; ++c) {
    for (std::size_t k = 0; k < d; ++k) {
      double& value = rows[c * d + k];
      value = static_cast<double>(centroids_[c * d + k]) - mean_[k];
      squares[c] += value * value;
    }
  }
  largest_ = std::sqrt(*std::max_element(squares.begin(), squares.end()));
  const double inverse = largest_ > 0 ? 1 / largest_ : 0;
  for (const double square : squares) {
    half_squares_.push_back(static_cast<float>(square * inverse * inverse / 2));
  }
  if (by_direction()) {
    compare_directions();
  } else {
    unit_ = largest_;
    biases_ = half_squares_;
    set_products(std::move(rows), largest_);
  }
}

// <x, u> for the direction u of a centroid is <x - mean, u - origin> + <mean, u>, up to a term that
// is the same for all centroids. Without the origin, what directions have in common would take most
// of the eight bits where the mean is long.
void Partition::compare_directions() {
  const std::size_t d = mean_.size(), cells = size();
  std::vector<double> rows(centroids_.size()), origin(d, 0.0);
  double largest_norm = 0;
  for (std::size_t c = 0; c < cells; ++c) {
    const float* own = centroid(c);
    const double norm = std::sqrt(dot(own, own, d)), inverse = norm > 0 ? 1 / norm : 0;
    largest_norm = std::max(largest_norm, norm);
    norms_.push_back(static_cast<float>(norm));
    inverse_norms_.push_back(static_cast<float>(inverse));
    mean_products_.push_back(static_cast<float>(dot(mean_.data(), own, d) * inverse));
    for (std::size_t k = 0; k < d; ++k) {
      rows[c * d + k] = own[k] * inverse;
      origin[k] += rows[c * d + k];
    }
  }
  for (const double sum : origin) {
    origin_.push_back(static_cast<float>(sum / static_cast<double>(cells)));
  }
  double largest = 0;
  for (std::size_t c = 0; c < cells; ++c) {
    double square = 0;
    for (std::size_t k = 0; k < d; ++k) {
      double& value = rows[c * d + k];
      value -= origin_[k];
      square += value * value;
    }
    largest = std::max(largest, std::sqrt(square));
  }
  set_products(std::move(rows), largest);
  unit_ = largest_norm;
  const double inverse = unit_ > 0 && largest > 0 ? 1 / (unit_ * largest) : 0;
  for (const float product : mean_products_) {
    biases_.push_back(static_cast<float>(-product * inverse));
  }
}

// rows: of norms up to `largest`.
void Partition::set_products(std::vector<double> rows, double largest) {
  matrix_unit_ = largest;
  const double inverse = largest > 0 ? 1 / largest : 0;
  std::vector<float> unit(rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) unit[i] = static_cast<float>(rows[i] * inverse);
  products_ = Int8Matrix(unit, size(), mean_.size());
  scales_.assign(products_.stride(), kInt16);
}

float Partition::length(std::size_t cell) const {
  constexpr double kLargest = std::numeric_limits<float>::max();
  return static_cast<float>(std::min(largest_ * std::sqrt(2.0 * half_squares_[cell]), kLargest));
}

std::vector<float> Partition::from_mean() const {
  std::vector<float> rows(centroids_);
  const std::size_t d = mean_.size();
  for (std::size_t c = 0; c < size(); ++c) {
    for (std::size_t k = 0; k < d; ++k) rows[c * d + k] -= mean_[k];
  }
  return rows;
}

std::vector<float> Partition::routing_vectors() const {
  std::vector<float> rows(centroids_);
  const std::size_t d = mean_.size();
  for (std::size_t c = 0; by_direction() && c < size(); ++c) {
    const double norm = std::sqrt(dot(centroid(c), centroid(c), d));
    for (std::size_t k = 0; norm > 0 && k < d; ++k) {
      rows[c * d + k] = static_cast<float>(rows[c * d + k] / norm);
    }
  }
  return rows;
}

void Partition::assign(const Rows& x, std::uint16_t* cells) const {
  parallel_for((x.n + kTaskRows - 1) / kTaskRows, [&](std::size_t task) {
    const std::size_t first = task * kTaskRows, n = std::min(kTaskRows, x.n - first);
    assign_block({x.row(first), n, x.d}, cells + first);
  });
}

void Partition::assign_among(const Rows& x, std::span<const std::size_t> runs, std::size_t number,
                             const std::uint16_t* chosen, std::uint16_t* cells) const {
  constexpr std::size_t kRows = 16384;  // many of them have a run in common
  parallel_for((x.n + kRows - 1) / kRows, [&](std::size_t task) {
    const std::size_t first = task * kRows, n = std::min(kRows, x.n - first);
    assign_block_among({x.row(first), n, x.d}, runs, number, chosen + first * number,
                       cells + first);
  });
}

void Partition::nearest(const Rows& x, std::size_t number, std::uint16_t* cells) const {
  parallel_for((x.n + kTaskRows - 1) / kTaskRows, [&](std::size_t task) {
    const std::size_t first = task * kTaskRows, n = std::min(kTaskRows, x.n - first);
    nearest_in_block({x.row(first), n, x.d}, number, cells + first * number);
  });
}

Partition::Quantized Partition::quantize(const Rows& x) const {
  const std::size_t width = products_.width();
  Quantized rows(x.n, width);
  std::vector<float> row(x.d);
  for (std::size_t i = 0; i < x.n; ++i) {
    float factor;
    const Residual difference = scaled_residual(x.row(i), mean_.data(), factor, row);
    float norm = std::sqrt(difference.squares);
    if (!std::isfinite(norm)) {  // a row that is not finite gets any cell
      std::fill(row.begin(), row.end(), 0.0f);
      norm = 0;
    }
    rows.units[i] =
        products_.quantize(row.data(), norm, difference.largest, rows.values.data() + i * width);
    constexpr double kLargest = 1e30;
    if (unit_ > 0) {
      rows.relative[i] =
          static_cast<float>(std::min(static_cast<double>(norm) / factor / unit_, kLargest));
    }
  }
  return rows;
}

void Partition::nearest_in_block(const Rows& x, std::size_t number, std::uint16_t* cells) const {
  const Quantized rows = quantize(x);
  std::vector<std::int16_t> products(x.n * products_.stride());
  products_.multiply(rows.values.data(), rows.units.data(), x.n, scales_.data(), products.data());
  std::vector<float> scores(size());
  for (std::size_t i = 0; i < x.n; ++i) {
    score(products.data() + i * products_.stride(), rows.relative[i] / kInt16, biases_.data(),
          scores);
    for (std::size_t p = 0; p < number; ++p) {
      const std::size_t best = std::min(largest_of(scores), size() - 1);
      scores[best] = -std::numeric_limits<float>::infinity();
      cells[i * number + p] = static_cast<std::uint16_t>(best);
    }
  }
}

// Compares rows with the cells of some panels. products: room, kept from call to call.
void Partition::compare(const Quantized& rows, std::size_t n, std::size_t first_panel,
                        std::size_t last_panel, std::vector<std::int16_t>& products,
                        Best* best) const {
  std::array<float, kTilePanels * kPanel> scores;
  products.resize(std::max(products.size(), n * scores.size()));
  for (std::size_t panel = first_panel; panel < last_panel; panel += kTilePanels) {
    const std::size_t panels = std::min(kTilePanels, last_panel - panel), first = panel * kPanel;
    const std::span some(scores.data(), std::min(panels * kPanel, size() - first));
    products_.multiply(rows.values.data(), rows.units.data(), n, scales_.data(), panel, panels,
                       products.data());
    for (std::size_t i = 0; i < n; ++i) {
      score(products.data() + i * panels * kPanel, rows.relative[i] / kInt16,
            biases_.data() + first, some);
      const std::size_t c = largest_of(some);
      if (c < some.size() && some[c] > best[i].score) best[i] = {some[c], first + c};
    }
  }
}

void Partition::assign_block(const Rows& x, std::uint16_t* cells) const {
  std::vector<Best> best(x.n);
  std::vector<std::int16_t> products;
  compare(quantize(x), x.n, 0, products_.stride() / kPanel, products, best.data());
  for (std::size_t i = 0; i < x.n; ++i) cells[i] = static_cast<std::uint16_t>(best[i].cell);
}

void Partition::assign_block_among(const Rows& x, std::span<const std::size_t> runs,
                                   std::size_t number, const std::uint16_t* chosen,
                                   std::uint16_t* cells) const {
  const Quantized all = quantize(x);
  std::vector<std::vector<std::uint32_t>> rows_of(runs.size() - 1);
  for (std::size_t i = 0; i < x.n * number; ++i) {
    rows_of[chosen[i]].push_back(static_cast<std::uint32_t>(i / number));
  }
  const std::size_t width = products_.width();
  Quantized rows(kTaskRows, width);
  std::array<Best, kTaskRows> own;
  std::vector<Best> best(x.n);
  std::vector<std::int16_t> products;
  for (std::size_t run = 0; run < rows_of.size(); ++run) {
    const std::span<const std::uint32_t> numbers = rows_of[run];
    for (std::size_t first = 0; first < numbers.size(); first += kTaskRows) {
      const auto some = numbers.subspan(first, std::min(kTaskRows, numbers.size() - first));
      for (std::size_t i = 0; i < some.size(); ++i) {
        std::copy_n(all.values.data() + some[i] * width, width, rows.values.data() + i * width);
        rows.units[i] = all.units[some[i]];
        rows.relative[i] = all.relative[some[i]];
        own[i] = best[some[i]];
      }
      compare(rows, some.size(), runs[run] / kPanel, (runs[run + 1] + kPanel - 1) / kPanel,
              products, own.data());
      for (std::size_t i = 0; i < some.size(); ++i) best[some[i]] = own[i];
    }
  }
  for (std::size_t i = 0; i < x.n; ++i) cells[i] = static_cast<std::uint16_t>(best[i].cell);
}

void Partition::estimate(const Rows& rows, std::int16_t* products, Estimate* estimates) const {
  const std::size_t width = products_.width(), d = rows.d;
  const auto product = kernels().rows.product.float32;
  std::vector<float> units(rows.n);
  std::vector<std::uint8_t> int8_rows(rows.n * width);
  for (std::size_t i = 0; i < rows.n; ++i) {
    const float* row = rows.row(i);
    const float norm = std::sqrt(product(row, row, d));
    units[i] =
        products_.quantize(row, norm, largest_magnitude(row, d), int8_rows.data() + i * width);
    Estimate& own = estimates[i];
    own.products = products + i * products_.stride();
    own.unit = static_cast<float>(norm * (matrix_unit_ / kInt16));
    if (!by_direction()) continue;
    own.origin_product = product(row, origin_.data(), d);
    own.mean_product = product(row, mean_.data(), d);
  }
  products_.multiply(int8_rows.data(), units.data(), rows.n, scales_.data(), products);
}

}  // namespace waterfill
