// Queries that are projected with integers, by every instruction set, beside those in float32.
#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "core_check.hpp"
#include "waterfill/codec/transform.hpp"

namespace waterfill {
namespace {

constexpr float kUntouched = 91;

std::vector<float> normal_values(std::size_t n, std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<float> values(n);
  for (float& value : values) value = normal(random);
  return values;
}

// p orthonormal rows of d values, by the method of Gram and Schmidt.
std::vector<float> orthonormal(std::size_t p, std::size_t d, std::mt19937& random) {
  std::vector<float> rows = normal_values(p * d, random);
  for (std::size_t i = 0; i < p; ++i) {
    float* own = rows.data() + i * d;
    for (std::size_t j = 0; j <= i; ++j) {
      const float* other = rows.data() + j * d;
      double product = 0;
      for (std::size_t k = 0; k < d; ++k) product += static_cast<double>(own[k]) * other[k];
      const double inverse = 1 / std::sqrt(product);
      for (std::size_t k = 0; k < d; ++k) {
        const double value = i == j ? own[k] * inverse : own[k] - product * other[k];
        own[k] = static_cast<float>(value);
      }
    }
  }
  return rows;
}

void check_projection(const std::string& isa, std::size_t d, std::size_t p, std::mt19937& random) {
  std::vector<float> weights = normal_values(p, random);
  for (float& weight : weights) weight = 0.1f + std::abs(weight);
  const Transform transform(normal_values(d, random), orthonormal(p, d, random), weights);
  const std::size_t stride = transform.stride();
  for (const std::size_t n : {1u, 3u, 17u}) {
    std::vector<float> queries = normal_values(n * d, random);
    queries[0] = 1000;  // few steps for the other values
    std::fill_n(queries.end() - static_cast<std::ptrdiff_t>(d), n > 1 ? d : 0, 0.0f);
    const Rows rows{queries.data(), n, d};
    std::vector<float> expected(n * stride);
    transform.queries(rows, expected.data());
    for (const std::size_t columns : {std::size_t{1}, p / 2 + 1, p}) {
      std::vector<float> found(n * stride, kUntouched);
      transform.fixed_queries(rows, columns, found.data());
      const std::size_t written = (columns + kPanel - 1) / kPanel * kPanel;
      for (std::size_t i = 0; i < n; ++i) {
        double squares = 0;
        for (std::size_t k = 0; k < d; ++k) squares += std::pow(queries[i * d + k], 2);
        // Half a step of the query, of the basis and of the result, added up over d values.
        const double bound =
            std::sqrt(squares) * (2 + 2 * std::sqrt(static_cast<double>(d))) / 32767;
        for (std::size_t j = 0; j < stride; ++j) {
          const float value = found[i * stride + j];
          const std::string name = isa + ", " + std::to_string(d) + " dimensions";
          if (j >= written) {
            expect(value == kUntouched, name + ": wrote beyond the panels");
          } else if (j < p) {
            const double error = std::abs(value - expected[i * stride + j]) * weights[j];
            expect(error <= bound, name + ": a coordinate is " + std::to_string(error) + " off");
          } else {
            expect(value == 0, name + ": padding is not zero");
          }
        }
      }
    }
  }
}

}  // namespace

void check_query_projection(const char* isa) {
  std::mt19937 random(5);
  for (const auto& [d, p] :
       {std::pair<std::size_t, std::size_t>{1, 1}, {7, 3}, {32, 32}, {130, 97}}) {
    check_projection(isa, d, p, random);
  }
  std::printf("%-8s query projection: integers are exact to a step\n", isa);
}

}  // namespace waterfill
