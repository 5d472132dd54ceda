// What follows the bytes of the groups in a code: the scale byte, and the number of the cell.
//
// A thread per row. The scale is rho / |u_cell|^alpha on a logarithmic scale. Its logarithm is not
// computed here: the CPU's decides at which numbers the codes change, and these are the thresholds.
#include "device.hpp"

using namespace waterfill;

// rows: as they were encoded. cells, or null: the cells of the rows. status: receives the
// number of the first row that is not finite, if that is less than what it holds, and counts the
// rows with the lowest and with the highest scale byte.
extern "C" __global__ void finish_codes(const float* rows, unsigned n, unsigned d, const float* rho,
                                        unsigned groups, const float* squared_cells, unsigned alpha,
                                        const double* thresholds, const std::uint16_t* cells,
                                        unsigned cell_bytes, std::uint8_t* codes,
                                        unsigned code_size, unsigned* status) {
  const std::size_t row = thread_of_grid();
  if (row >= n) return;
  std::uint8_t* code = codes + row * code_size;
  float sums[4] = {};  // of the groups by their remainder; what is left over goes to the first
  for (unsigned g = 0; g < groups; ++g) {
    const unsigned sum = g < groups / 4 * 4 ? g % 4 : 0;
    sums[sum] += squared_cells[g * kCells + (code[g] >> 4)];
  }
  const float power = length_power((sums[0] + sums[1]) + (sums[2] + sums[3]), alpha);
  const float distance = rho[row];
  if (!(distance == distance)) atomicMin(status, static_cast<unsigned>(row));
  std::uint8_t scale = scale_code(static_cast<double>(distance) / power, thresholds);
  if (scale == 1) {  // a row may equal its center up to rounding
    constexpr double kRounding = 1e-6;
    double squares = 0;
    for (unsigned k = 0; k < d; ++k) {
      squares += static_cast<double>(rows[row * d + k]) * rows[row * d + k];
    }
    if (distance <= kRounding * sqrt(squares)) scale = 0;
  }
  if (scale == 1) atomicAdd(status + 1, 1u);
  if (scale == 255) atomicAdd(status + 2, 1u);
  code[groups] = scale;
  for (unsigned i = 0; i < cell_bytes; ++i) {
    code[groups + 1 + i] = static_cast<std::uint8_t>(cells[row] >> (8 * i));
  }
}
