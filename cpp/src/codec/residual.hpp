// A row seen from a point: the difference, its length and its largest value.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <numeric>
#include <vector>

#include "kernels.hpp"

namespace waterfill {

struct Centred {
  float squares = 0;  // of the difference's length
  float largest = 0;  // of its values, without their sign
};

inline Centred centre(const float* row, const float* point, std::size_t d, float* out) {
  std::array<float, kParts> squares, largest;
  kernels().centre(row, point, d, out, squares.data(), largest.data());
  return {std::accumulate(squares.begin(), squares.end(), 0.0f),
          *std::max_element(largest.begin(), largest.end())};
}

// The same for any row, times a power of two where squares leave float32's range otherwise.
// `factor` says which.
inline Centred centre_safely(const float* row, const float* point, float& factor,
                             std::vector<float>& out) {
  factor = 1;
  const std::size_t d = out.size();
  const Centred usual = centre(row, point, d, out.data());
  constexpr float kLeast = 1e-30f, kMost = 1e30f;
  if (usual.squares >= kLeast && usual.squares <= kMost) return usual;
  std::vector<float> scaled(row, row + d), scaled_point(point, point + d);
  if (usual.squares < kLeast) {  // the difference is what is small: rows themselves may be large
    scaled = out;
    std::fill(scaled_point.begin(), scaled_point.end(), 0.0f);
  }
  factor = usual.squares < kLeast ? 0x1p100f : 0x1p-100f;
  for (float& value : scaled) value *= factor;
  for (float& value : scaled_point) value *= factor;
  return centre(scaled.data(), scaled_point.data(), d, out.data());
}

}  // namespace waterfill
