// The update of k-means of cells: sums of the rows of each cell, in float64 and by ascending row.
//
// Rows come sorted by cell. A thread takes a column of a cell and goes through its rows, so that
// the threads of a warp read neighboring values, and the sums are those of the CPU.
#include "device.hpp"

using namespace waterfill;

// Grid: cells, blocks of columns. order: numbers of rows, those of cell c from starts[c] on.
extern "C" __global__ void cell_sums(const float* x, unsigned d, const unsigned* order,
                                     const unsigned* starts, double* sums) {
  const unsigned cell = blockIdx.x, k = blockIdx.y * blockDim.x + threadIdx.x;
  if (k >= d) return;
  double sum = 0;
  for (unsigned i = starts[cell]; i < starts[cell + 1]; ++i) {
    sum += x[static_cast<std::size_t>(order[i]) * d + k];
  }
  sums[static_cast<std::size_t>(cell) * d + k] = sum;
}
