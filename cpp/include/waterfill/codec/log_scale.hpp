// A logarithmic scalar quantizer of positive numbers with one byte.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace waterfill {

// Code 0 is zero; codes 1 to 255 are spaced evenly in the logarithm.
class LogScale {
 public:
  LogScale() : LogScale(0.0, 1.0) {}
  LogScale(double low, double step);
  // Covers [smallest / margin, largest * margin].
  static LogScale covering(double smallest, double largest, double margin);

  std::uint8_t encode(double value) const;  // values outside the range get the nearest end
  // For each code from 2 on, the least value that `encode` gives this code or a greater one.
  std::vector<double> thresholds() const;
  // The decoded value, or the value itself if it is outside the range.
  float rounded(float value) const;
  float operator[](std::uint8_t code) const { return values_[code]; }
  const float* values() const { return values_.data(); }  // of all codes
  double low() const { return low_; }
  double step() const { return step_; }

 private:
  double low_, step_;
  std::array<float, 256> values_;
};

}  // namespace waterfill
