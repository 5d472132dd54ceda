// Integers for what decides about a code: their sums have no order, so a code is the same on every
// machine, and two to four times as many products fit a register as with float32.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

#include "waterfill/core/aligned_vector.hpp"
#include "waterfill/core/types.hpp"

namespace waterfill {

inline constexpr int kFixedOne = 32767;

// round(value), half to even, for |value| < 2^22; unlike std::nearbyint it does not stop the
// compiler from taking several at a time.
inline std::int32_t round_small(float value) {
  constexpr float kShift = 12582912.0f;  // 1.5 * 2^23: the unit is the last bit of the sum
  return std::bit_cast<std::int32_t>(value + kShift) - std::bit_cast<std::int32_t>(kShift);
}

// Products of rows with a matrix in 16-bit numbers: exact to about 1e-7 of a direction's energy.
class FixedMatrix {
 public:
  FixedMatrix() = default;
  // matrix: p rows of d values, none of them longer than 1.
  FixedMatrix(const std::vector<float>& matrix, std::size_t p, std::size_t d);

  std::size_t width() const { return d_; }  // values of an input row: d, then zeros up to twos
  std::size_t stride() const;               // values of an output row: p, rounded up to panels

  // row: d values; u: width() values of row / norm, kFixedOne for 1. norm: the row's length, or
  // little less.
  void to_fixed(const float* row, float norm, std::int16_t* u) const;
  // y = scales * matrix * u; scales has stride() values. No product of a direction with a row of
  // the matrix is longer than 1, so sums fit 32 bits.
  void multiply(const std::int16_t* u, std::size_t n, const float* scales, std::int16_t* y) const;

 private:
  std::size_t size_ = 0, d_ = 0, panels_ = 0;
  Aligned<std::int16_t> values_;
};

// The same with short numbers of 7 and 8 bits, which add an error of some 3e-4 of the energy (more
// where a few values are much larger than the others), where far more is lost anyway.
class ShortMatrix {
 public:
  ShortMatrix() = default;
  ShortMatrix(const std::vector<float>& matrix, std::size_t p, std::size_t d);

  std::size_t width() const { return d_; }  // of an input row: d, then zeros up to fours
  std::size_t stride() const;

  // u: width() values of -63 to 63, plus 64, for row / norm; returns what a unit of them is.
  // largest: of the row's values, without their sign.
  float to_short(const float* row, float norm, float largest, std::uint8_t* u) const;
  // units: what `to_short` returned for each row.
  void multiply(const std::uint8_t* u, const float* units, std::size_t n, const float* scales,
                std::int16_t* y) const;

 private:
  std::size_t size_ = 0, d_ = 0, panels_ = 0;
  Aligned<std::int8_t> values_;
  std::vector<std::int32_t> offsets_;
  std::vector<float> units_;  // of the matrix's rows
};

// The 256 centroids of a group.
class FixedBook {
 public:
  // book: `width` rows of 256 values.
  FixedBook(const float* book, std::size_t width);

  // Of one unit of the book's values in the coordinates that `nearest` takes.
  float scale() const { return scale_; }
  // codes[r * code_stride]: the centroid nearest to y[r * stride ...], which must have a value more
  // than an odd width.
  void nearest(const std::int16_t* y, std::size_t n, std::size_t stride, std::uint8_t* codes,
               std::size_t code_stride) const;
  // On a line: what a coordinate is beyond its centroid, times a factor.
  std::int16_t rest(std::int16_t y, std::uint8_t code, float factor) const;
  // `nearest` for float32 rows of `width` values.
  void nearest(const Rows& y, std::uint8_t* codes) const;

 private:
  std::size_t width_, even_width_;
  float scale_;
  Aligned<std::int16_t> negative_;
  std::vector<std::int32_t> half_norms_;
};

}  // namespace waterfill
