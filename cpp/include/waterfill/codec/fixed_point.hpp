// Matrices and codebooks in fixed point: all arithmetic that decides about a code.
//
// Integer sums do not depend on the order of their terms, so codes are the same on every machine. A
// register also holds two to four times as many products as with float32.
#pragma once

#include <cstdint>
#include <vector>

#include "waterfill/core/aligned_vector.hpp"
#include "waterfill/core/arithmetic.hpp"
#include "waterfill/core/types.hpp"

namespace waterfill {

// Products of rows with a matrix of int16, exact to about 1e-7 of a direction's energy.
class Int16Matrix {
 public:
  Int16Matrix() = default;
  // matrix: p rows of d values with norms of at most 1.
  Int16Matrix(const std::vector<float>& matrix, std::size_t p, std::size_t d);

  std::size_t width() const { return d_; }  // values of an input row: d, padded to a multiple of 2
  std::size_t stride() const;               // values of an output row: p, padded to whole panels
  const Aligned<std::int16_t>& values() const { return values_; }  // as kernels read them
  // The factors of sums, given `scales` of the results.
  std::vector<float> units(const float* scales) const;

  // Quantizes row / norm, with kFixedOne for 1. row: d values; u: width() values. norm: the norm of
  // the row, or slightly less.
  void quantize(const float* row, float norm, std::int16_t* u) const;
  // y = scales * matrix * u; scales has stride() values. The product of a direction with a row of
  // the matrix is at most 1, so sums fit 32 bits.
  void multiply(const std::int16_t* u, std::size_t n, const float* scales, std::int16_t* y) const {
    multiply(u, n, scales, panels_, y);
  }
  // The same for the first panels of rows of the matrix: y has panels * kPanel values a row.
  void multiply(const std::int16_t* u, std::size_t n, const float* scales, std::size_t panels,
                std::int16_t* y) const;

 private:
  std::size_t size_ = 0, d_ = 0, panels_ = 0;
  Aligned<std::int16_t> values_;
};

// The same with a matrix of int8 and rows of 7 bits. The error is about 3e-4 of the energy, or more
// if a few values are much larger than the others. It is used where quantization loses far more.
class Int8Matrix {
 public:
  Int8Matrix() = default;
  Int8Matrix(const std::vector<float>& matrix, std::size_t p, std::size_t d);

  std::size_t width() const { return d_; }  // values of an input row: d, padded to a multiple of 4
  std::size_t stride() const;
  const Aligned<std::int8_t>& values() const { return values_; }  // as kernels read them
  const std::vector<std::int32_t>& offsets() const { return offsets_; }
  // The factors of sums, given `scales` of the results, without those of the rows.
  std::vector<float> units(const float* scales) const;

  // Quantizes row / norm to width() values of -63 to 63, plus 64; returns the value of one unit.
  // largest: the largest absolute value of the row.
  float quantize(const float* row, float norm, float largest, std::uint8_t* u) const;
  // units: the return values of `quantize` for each row.
  void multiply(const std::uint8_t* u, const float* units, std::size_t n, const float* scales,
                std::int16_t* y) const {
    multiply(u, units, n, scales, 0, panels_, y);
  }
  // The same for some panels of rows of the matrix: y has panels * kPanel values a row.
  void multiply(const std::uint8_t* u, const float* units, std::size_t n, const float* scales,
                std::size_t first_panel, std::size_t panels, std::int16_t* y) const;

 private:
  std::size_t size_ = 0, d_ = 0, panels_ = 0;
  Aligned<std::int8_t> values_;
  std::vector<std::int32_t> offsets_;
  std::vector<float> units_;  // of the rows of the matrix
};

// The 256 centroids of a group as int16.
class Int16Codebook {
 public:
  // book: `width` rows of 256 values.
  Int16Codebook(const float* book, std::size_t width);

  // Factor from the values of the book to the fixed-point coordinates of `nearest`.
  float scale() const { return scale_; }
  // Of negative centroids, as kernels read them, and half the squared norms.
  const Aligned<std::int16_t>& values() const { return negative_; }
  const std::vector<std::int32_t>& half_norms() const { return half_norms_; }
  // codes[r * code_stride]: the centroid nearest to y[r * stride ...]. For an odd width, one value
  // behind each row must be readable.
  void nearest(const std::int16_t* y, std::size_t n, std::size_t stride, std::uint8_t* codes,
               std::size_t code_stride) const;
  // For width 1: the difference between a coordinate and its centroid, times a factor.
  std::int16_t residual(std::int16_t y, std::uint8_t code, float factor) const;
  // `nearest` for float32 rows of `width` values.
  void nearest(const Rows& y, std::uint8_t* codes) const;

 private:
  std::size_t width_, even_width_;
  float scale_;
  Aligned<std::int16_t> negative_;
  std::vector<std::int32_t> half_norms_;
};

}  // namespace waterfill
