// The residual of a row: its difference from a point, with the norm and the largest value.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <vector>

#include "kernels.hpp"

namespace waterfill {

// The largest absolute value of a row. NaN is ignored.
inline float largest_magnitude(const float* row, std::size_t d) {
  std::array<float, 8> most{};  // independent maxima
  std::size_t k = 0;
  for (; k + most.size() <= d; k += most.size()) {
    for (std::size_t i = 0; i < most.size(); ++i) {
      const float value = std::abs(row[k + i]);
      most[i] = value > most[i] ? value : most[i];
    }
  }
  for (; k < d; ++k) most[0] = std::max(most[0], std::abs(row[k]));
  return *std::max_element(most.begin(), most.end());
}

struct Residual {
  float squares = 0;  // squared norm of the difference
  float largest = 0;  // its largest absolute value
};

inline Residual residual(const float* row, const float* point, std::size_t d, float* out) {
  std::array<float, kParts> squares, largest;
  kernels().residual(row, point, d, out, squares.data(), largest.data());
  return {std::accumulate(squares.begin(), squares.end(), 0.0f),
          *std::max_element(largest.begin(), largest.end())};
}

// The same for any finite row: if the squared norm leaves the range of float32, the difference is
// multiplied by a power of two, which `factor` returns.
inline Residual scaled_residual(const float* row, const float* point, float& factor,
                                std::vector<float>& out) {
  factor = 1;
  const std::size_t d = out.size();
  const Residual unscaled = residual(row, point, d, out.data());
  constexpr float kLeast = 1e-30f, kMost = 1e30f;
  if (unscaled.squares >= kLeast && unscaled.squares <= kMost) return unscaled;
  std::vector<float> scaled(row, row + d), scaled_point(point, point + d);
  if (unscaled.squares < kLeast) {  // the difference is small, although the row may be large
    scaled = out;
    std::fill(scaled_point.begin(), scaled_point.end(), 0.0f);
  }
  factor = unscaled.squares < kLeast ? 0x1p100f : 0x1p-100f;
  for (float& value : scaled) value *= factor;
  for (float& value : scaled_point) value *= factor;
  return residual(scaled.data(), scaled_point.data(), d, out.data());
}

}  // namespace waterfill
