#include "waterfill/codec/log_scale.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace waterfill {

LogScale::LogScale(double low, double step) : low_(low), step_(step) {
  constexpr double kLargest = std::numeric_limits<float>::max();
  values_[0] = 0;
  for (int code = 1; code < 256; ++code) {
    const double value = std::min(std::exp(low + (code - 1) * step), kLargest);
    values_[static_cast<std::size_t>(code)] = static_cast<float>(value);
  }
}

LogScale LogScale::covering(double smallest, double largest, double margin) {
  if (!(largest > 0)) return LogScale();
  smallest = std::clamp(smallest, largest * 1e-6, largest);
  const double low = std::log(smallest / margin), high = std::log(largest * margin);
  return LogScale(low, (high - low) / 254);
}

std::uint8_t LogScale::encode(double value) const {
  if (!(value > 0)) return 0;
  const double code = 1 + std::round((std::log(value) - low_) / step_);
  return static_cast<std::uint8_t>(std::clamp(code, 1.0, 255.0));
}

// By bisection of the bits, which ascend as the numbers do.
std::vector<double> LogScale::thresholds() const {
  constexpr std::uint64_t kInfinity =
      std::bit_cast<std::uint64_t>(std::numeric_limits<double>::infinity());
  std::vector<double> result;
  std::uint64_t below = 0;
  for (int code = 2; code < 256; ++code) {
    std::uint64_t low = below, high = kInfinity;  // the value of `low` gets a lower code
    while (high - low > 1) {
      const std::uint64_t middle = low + (high - low) / 2;
      (encode(std::bit_cast<double>(middle)) < code ? low : high) = middle;
    }
    result.push_back(std::bit_cast<double>(high));
    below = low;
  }
  return result;
}

float LogScale::rounded(float value) const {
  const std::uint8_t code = encode(value);
  return code > 1 && code < 255 ? values_[code] : value;
}

}  // namespace waterfill
