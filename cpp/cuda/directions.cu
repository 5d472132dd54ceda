// Coordinates of directions in float32, as Transform::directions computes them for training.
//
// Half a warp divides the residual of a row by its norm. Then a block computes a tile of 64 rows
// and 64 columns, a thread 4 by 4 of them: rows and matrix pass through shared memory 16 values at
// a time. Products are added by ascending index, so that a sum is that of the kernel `project`.
#include "device.hpp"
#include "residual.hpp"

using namespace waterfill;

// centers: of all cells, or the mean, if cells is null.
extern "C" __global__ void unit_directions(const float* x, unsigned n, unsigned d,
                                           const float* centers, const std::uint16_t* cells,
                                           float* out) {
  const std::size_t i = thread_of_grid() / kParts;
  const unsigned part = threadIdx.x % kParts;
  const std::size_t row = i < n ? i : n - 1;  // a lane without a row helps with the last one
  const std::size_t cell = cells != nullptr ? cells[row] : 0;
  Values values{x + row * d, centers + cell * d, d, kUnscaled};
  float factor;
  const float norm = sqrtf(scaled_residual(values, part, factor).squares);
  const float inverse = norm > 0 ? 1 / norm : 0.0f;
  if (i >= n) return;
  for (unsigned k = part; k < d; k += kParts) out[row * d + k] = values[k] * inverse;
}

// Grid: tiles of rows, tiles of columns; 256 threads. matrix: `columns` rows of d values. y: n rows
// of `columns` values.
extern "C" __global__ void project_rows(const float* x, unsigned n, unsigned d, const float* matrix,
                                        unsigned columns, float* y) {
  constexpr unsigned kTile = 64, kDepth = 16, kSide = 4, kThreads = 256;
  __shared__ float rows[kDepth][kTile + 1], weights[kDepth][kTile + 1];
  const unsigned t = threadIdx.x;
  const std::size_t first_row = static_cast<std::size_t>(blockIdx.x) * kTile;
  const unsigned first_column = blockIdx.y * kTile;
  const unsigned own_row = t / kDepth * kSide, own_column = t % kDepth * kSide;
  float sums[kSide][kSide] = {};
  for (unsigned first = 0; first < d; first += kDepth) {
    const unsigned depth = d - first < kDepth ? d - first : kDepth;
    for (unsigned i = t; i < kTile * kDepth; i += kThreads) {
      const unsigned k = i % kDepth, r = i / kDepth;
      const std::size_t row = first_row + r;
      const unsigned column = first_column + r;
      rows[k][r] = k < depth && row < n ? x[row * d + first + k] : 0.0f;
      weights[k][r] = k < depth && column < columns
                          ? matrix[static_cast<std::size_t>(column) * d + first + k]
                          : 0.0f;
    }
    __syncthreads();
    for (unsigned k = 0; k < depth; ++k) {
#pragma unroll
      for (unsigned i = 0; i < kSide; ++i) {
#pragma unroll
        for (unsigned j = 0; j < kSide; ++j) {
          sums[i][j] += rows[k][own_row + i] * weights[k][own_column + j];
        }
      }
    }
    __syncthreads();
  }
  for (unsigned i = 0; i < kSide; ++i) {
    const std::size_t row = first_row + own_row + i;
    for (unsigned j = 0; j < kSide; ++j) {
      const unsigned column = first_column + own_column + j;
      if (row < n && column < columns) y[row * columns + column] = sums[i][j];
    }
  }
}
