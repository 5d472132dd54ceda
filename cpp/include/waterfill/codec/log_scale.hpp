// A byte for lengths: what is kept of a number on a logarithmic scale.
#pragma once

#include <array>
#include <cstdint>

namespace waterfill {

// 255 values at even steps of the logarithm, and zero.
class LogScale {
 public:
  LogScale() : LogScale(0.0, 1.0) {}
  LogScale(double low, double step);
  // Covers [smallest, largest] and `margin` times beyond at both ends.
  static LogScale covering(double smallest, double largest, double margin);

  std::uint8_t encode(double value) const;  // values beyond the ends go to the ends
  // The value's own code decoded, or the value where that is beyond the ends.
  float rounded(float value) const;
  float operator[](std::uint8_t code) const { return values_[code]; }
  double low() const { return low_; }
  double step() const { return step_; }

 private:
  double low_, step_;
  std::array<float, 256> values_;
};

}  // namespace waterfill
