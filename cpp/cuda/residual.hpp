// The residual of a row: its difference from a point, as scaled_residual of the CPU computes it.
//
// Half a warp takes a row: lane i adds up the squares of part i, as the kernel `residual` of the
// CPU does, and the parts are added in their order. A residual whose squares leave the range of
// float32 is scaled by a power of two.
#pragma once

#include "device.hpp"

namespace waterfill {
namespace {

enum Scaling { kUnscaled, kRaised, kLowered };

// The values of a residual, by one lane of the half warp that computes it.
struct Values {
  const float *row, *point;
  unsigned d;
  Scaling scaling;

  __device__ float operator[](unsigned k) const {
    constexpr float kRaise = 0x1p100f, kLower = 0x1p-100f;
    if (scaling == kUnscaled) return row[k] - point[k];
    if (scaling == kRaised) return (row[k] - point[k]) * kRaise - 0.0f;
    return row[k] * kLower - point[k] * kLower;
  }
};

struct Residual {
  float squares, largest;
};

__device__ void add(float value, Residual& sums) {
  sums.squares += value * value;
  const float size = value < 0 ? -value : value;
  if (size > sums.largest) sums.largest = size;
}

// Sum and maximum over the parts; all lanes of the warp must call it.
__device__ Residual residual(const Values& values, unsigned part) {
  Residual own{0, 0};
  const unsigned d = values.d, whole = d / kParts * kParts;
  for (unsigned k = part; k < whole; k += kParts) add(values[k], own);
  for (unsigned k = whole; part == 0 && k < d; ++k) add(values[k], own);
  Residual all{0, 0};
  for (unsigned i = 0; i < kParts; ++i) {
    all.squares += __shfl_sync(kAllLanes, own.squares, i, kParts);
    const float size = __shfl_sync(kAllLanes, own.largest, i, kParts);
    if (size > all.largest) all.largest = size;
  }
  return all;
}

__device__ Residual scaled_residual(Values& values, unsigned part, float& factor) {
  constexpr float kLeast = 1e-30f, kMost = 1e30f;
  const Residual unscaled = residual(values, part);
  const bool fits = unscaled.squares >= kLeast && unscaled.squares <= kMost;
  const bool tiny = unscaled.squares < kLeast;
  values.scaling = fits ? kUnscaled : tiny ? kRaised : kLowered;
  factor = fits ? 1.0f : tiny ? 0x1p100f : 0x1p-100f;
  const Residual scaled = residual(values, part);  // the other half of the warp may need it
  return fits ? unscaled : scaled;
}

}  // namespace
}  // namespace waterfill
