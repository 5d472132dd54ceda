// The residuals of rows in fixed point, for the rotation and for the assignment to cells. Half a
// warp takes a row.
#include "device.hpp"
#include "residual.hpp"

namespace waterfill {
namespace {

// Writes 7 bits per value and returns the value of one unit. valid: else values count as zero.
__device__ float write_7_bits(const Values& values, bool valid, float norm, float largest,
                              unsigned part, unsigned width, std::uint8_t* out) {
  const float factor = largest > 0 ? kLargestRowValue / largest : 0.0f;
  for (unsigned k = part; k < width; k += kParts) {
    const float value = valid && k < values.d ? values[k] : 0.0f;
    out[k] = k < values.d ? quantized_to_7_bits(value, factor) : kRowOffset;
  }
  return norm > 0 ? largest / kLargestRowValue / norm : 0.0f;
}

__device__ void write_16_bits(const Values& values, bool valid, float norm, unsigned part,
                              unsigned width, std::int16_t* out) {
  const float factor = norm > 0 ? kFixedOne / norm : 0.0f;
  for (unsigned k = part; k < width; k += kParts) {
    const float value = valid && k < values.d ? values[k] : 0.0f;
    out[k] = k < values.d ? quantized_to_16_bits(value, factor) : std::int16_t{0};
  }
}

// What a scale rounds a distance to, or the distance itself outside its range.
__device__ float rounded(float value, const float* scale_values, const double* thresholds) {
  const std::uint8_t code = scale_code(value, thresholds);
  return code > 1 && code < 255 ? scale_values[code] : value;
}

}  // namespace
}  // namespace waterfill

using namespace waterfill;

// For codes. centers: of all cells, or the mean, if cells is null. scale_values, thresholds: of the
// scale that distances are rounded to, or null. The result is in out7 with units, or in out16.
// rho: the distances from the centers, NaN for a row that is not finite.
extern "C" __global__ void quantize_directions(const float* x, unsigned n, unsigned d,
                                               const float* centers, const std::uint16_t* cells,
                                               const float* scale_values, const double* thresholds,
                                               unsigned width, std::uint8_t* out7, float* units,
                                               std::int16_t* out16, float* rho) {
  const std::size_t i = thread_of_grid() / kParts;
  const unsigned part = threadIdx.x % kParts;
  const std::size_t row = i < n ? i : n - 1;  // a lane without a row helps with the last one
  const std::size_t cell = cells != nullptr ? cells[row] : 0;
  Values values{x + row * d, centers + cell * d, d, kUnscaled};
  float factor;
  const Residual difference = scaled_residual(values, part, factor);
  float norm = sqrtf(difference.squares);
  float distance = norm / factor;
  const bool valid = is_finite(norm);
  if (!valid) {
    norm = 0;
    distance = __uint_as_float(0x7fffffffu);
  }
  if (scale_values != nullptr) norm = rounded(distance, scale_values, thresholds) * factor;
  if (i >= n) return;
  if (out7 != nullptr) {
    const float unit =
        write_7_bits(values, valid, norm, difference.largest, part, width, out7 + row * width);
    if (part == 0) units[row] = unit;
  } else {
    write_16_bits(values, valid, norm, part, width, out16 + row * width);
  }
  if (part == 0) rho[row] = distance;
}

// For the assignment to cells, relative to the mean. relative: |x - mean| / unit, for the scores.
extern "C" __global__ void quantize_for_cells(const float* x, unsigned n, unsigned d,
                                              const float* mean, double unit, unsigned width,
                                              std::uint8_t* out7, float* units, float* relative) {
  const std::size_t i = thread_of_grid() / kParts;
  const unsigned part = threadIdx.x % kParts;
  const std::size_t row = i < n ? i : n - 1;
  Values values{x + row * d, mean, d, kUnscaled};
  float factor;
  const Residual difference = scaled_residual(values, part, factor);
  float norm = sqrtf(difference.squares);
  const bool valid = is_finite(norm);
  if (!valid) norm = 0;
  if (i >= n) return;
  const float own =
      write_7_bits(values, valid, norm, difference.largest, part, width, out7 + row * width);
  if (part != 0) return;
  units[row] = own;
  constexpr double kLargest = 1e30;
  const double share = static_cast<double>(norm) / factor / unit;
  relative[row] = unit > 0 ? static_cast<float>(share < kLargest ? share : kLargest) : 0.0f;
}
