#include "waterfill/codec/fixed_point.hpp"

#include <algorithm>
#include <cmath>

#include "codec/residual.hpp"
#include "kernels.hpp"

namespace waterfill {
namespace {

// The largest coordinate of a centroid, and the largest sum of its coordinates. Rows are clipped to
// 32,767, so a score is below 32767 * 48000 + 16383 * 48000 / 2 < 2^31. In one dimension the
// nearest centroid of a row beyond the outermost one is that one, so no headroom is needed.
constexpr float kLargest = 16383, kLargestOnLine = 32767, kLargestSum = 48000;

float scale_for(const float* book, std::size_t width) {
  float largest = 0, largest_sum = 0;
  for (std::size_t c = 0; c < kCentroids; ++c) {
    float sum = 0;
    for (std::size_t j = 0; j < width; ++j) {
      const float value = std::abs(book[j * kCentroids + c]);
      largest = std::max(largest, value);
      sum += value;
    }
    largest_sum = std::max(largest_sum, sum);
  }
  constexpr float kSmallest = 1e-30f;  // a codebook of zeros has no scale
  const float limit = width == 1 ? kLargestOnLine : kLargest;
  return std::min(limit / std::max(largest, kSmallest),
                  kLargestSum / std::max(largest_sum, kSmallest));
}

}  // namespace

Int16Matrix::Int16Matrix(const std::vector<float>& matrix, std::size_t p, std::size_t d)
    : size_(d),
      d_((d + 1) / 2 * 2),
      panels_((p + kPanel - 1) / kPanel),
      values_(panels_ * d_ * kPanel, std::int16_t{0}) {
  for (std::size_t j = 0; j < p; ++j) {
    std::int16_t* own = values_.data() + j / kPanel * d_ * kPanel + j % kPanel * 2;
    for (std::size_t k = 0; k < d; ++k) {
      const float value = std::clamp(matrix[j * d + k], -1.0f, 1.0f) * kFixedOne;
      own[k / 2 * kPanel * 2 + k % 2] = static_cast<std::int16_t>(round_small(value));
    }
  }
}

std::size_t Int16Matrix::stride() const {
  return panels_ * kPanel;
}

void Int16Matrix::quantize(const float* row, float norm, std::int16_t* u) const {
  const std::size_t d = size_;
  const float factor = norm > 0 ? kFixedOne / norm : 0.0f;
  for (std::size_t k = 0; k < d; ++k) u[k] = quantized_to_16_bits(row[k], factor);
  std::fill(u + size_, u + d_, std::int16_t{0});
}

void Int16Matrix::multiply(const std::int16_t* u, std::size_t n, const float* scales,
                           std::size_t panels, std::int16_t* y) const {
  kernels().rotate_int16(u, n, d_, values_.data(), units(scales).data(), panels, y);
}

std::vector<float> Int16Matrix::units(const float* scales) const {
  constexpr float kUnit = 1.0f / (static_cast<float>(kFixedOne) * kFixedOne);
  std::vector<float> units(stride());
  for (std::size_t j = 0; j < units.size(); ++j) units[j] = scales[j] * kUnit;
  return units;
}

Int8Matrix::Int8Matrix(const std::vector<float>& matrix, std::size_t p, std::size_t d)
    : size_(d),
      d_((d + 3) / 4 * 4),
      panels_((p + kPanel - 1) / kPanel),
      values_(panels_ * d_ * kPanel, std::int8_t{0}),
      offsets_(stride(), 0),
      units_(stride(), 0.0f) {
  for (std::size_t j = 0; j < p; ++j) {
    const float* row = matrix.data() + j * d;
    std::int8_t* own = values_.data() + j / kPanel * d_ * kPanel + j % kPanel * 4;
    const float largest = largest_magnitude(row, d);
    const float inverse = largest > 0 ? kLargestMatrixValue / largest : 0.0f;
    units_[j] = largest / kLargestMatrixValue;
    for (std::size_t k = 0; k < d; ++k) {
      const std::int32_t value = round_small(clipped(row[k] * inverse, kLargestMatrixValue));
      own[k / 4 * kPanel * 4 + k % 4] = static_cast<std::int8_t>(value);
      offsets_[j] += kRowOffset * value;
    }
  }
}

std::size_t Int8Matrix::stride() const {
  return panels_ * kPanel;
}

float Int8Matrix::quantize(const float* row, float norm, float largest, std::uint8_t* u) const {
  const std::size_t d = size_;  // a local: writes through u may alias size_
  const float factor = largest > 0 ? kLargestRowValue / largest : 0.0f;
  for (std::size_t k = 0; k < d; ++k) u[k] = quantized_to_7_bits(row[k], factor);
  std::fill(u + size_, u + d_, static_cast<std::uint8_t>(kRowOffset));
  return norm > 0 ? largest / kLargestRowValue / norm : 0.0f;
}

void Int8Matrix::multiply(const std::uint8_t* u, const float* units, std::size_t n,
                          const float* scales, std::size_t first_panel, std::size_t panels,
                          std::int16_t* y) const {
  const std::size_t first = first_panel * kPanel;
  std::vector<float> column_units(panels * kPanel);
  for (std::size_t j = 0; j < column_units.size(); ++j) {
    column_units[j] = scales[first + j] * units_[first + j];
  }
  kernels().rotate_int8(u, n, d_, values_.data() + first * d_, offsets_.data() + first,
                        column_units.data(), units, panels, y);
}

std::vector<float> Int8Matrix::units(const float* scales) const {
  std::vector<float> units(stride());
  for (std::size_t j = 0; j < units.size(); ++j) units[j] = scales[j] * units_[j];
  return units;
}

Int16Codebook::Int16Codebook(const float* book, std::size_t width)
    : width_(width),
      even_width_((width + 1) / 2 * 2),
      scale_(scale_for(book, width)),
      negative_(even_width_ * kCentroids, std::int16_t{0}),
      half_norms_(kCentroids) {
  for (std::size_t c = 0; c < kCentroids; ++c) {
    std::int64_t squares = 0;
    for (std::size_t j = 0; j < width; ++j) {
      const std::int32_t value = round_small(book[j * kCentroids + c] * scale_);
      negative_[(j / 2 * kCentroids + c) * 2 + j % 2] = static_cast<std::int16_t>(-value);
      squares += std::int64_t{value} * value;
    }
    half_norms_[c] = static_cast<std::int32_t>(squares / 2);
  }
}

void Int16Codebook::nearest(const std::int16_t* y, std::size_t n, std::size_t stride,
                            std::uint8_t* codes, std::size_t code_stride) const {
  kernels().nearest(y, n, stride, even_width_, negative_.data(), half_norms_.data(), codes,
                    code_stride);
}

std::int16_t Int16Codebook::residual(std::int16_t y, std::uint8_t code, float factor) const {
  return second_coordinate(y, negative_[std::size_t{code} * 2], factor);
}

void Int16Codebook::nearest(const Rows& y, std::uint8_t* codes) const {
  constexpr std::size_t kRows = 256;
  std::vector<std::int16_t> flat(kRows * width_), padded(kRows * even_width_, std::int16_t{0});
  for (std::size_t first = 0; first < y.n; first += kRows) {
    const std::size_t n = std::min(kRows, y.n - first);
    const float* values = y.row(first);
    const float scale = scale_;
    for (std::size_t i = 0; i < n * width_; ++i) {
      flat[i] = codebook_coordinate(values[i], scale);
    }
    for (std::size_t i = 0; i < n && width_ < even_width_; ++i) {
      std::copy_n(flat.data() + i * width_, width_, padded.data() + i * even_width_);
    }
    const std::int16_t* rows = width_ < even_width_ ? padded.data() : flat.data();
    nearest(rows, n, even_width_, codes + first, 1);
  }
}

}  // namespace waterfill
