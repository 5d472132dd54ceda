// What the start of k-means needs of the columns of rows, and columns in other forms.
//
// Threads take neighboring columns, so that those of a warp read neighboring values, and go through
// the rows of their block.
#include "device.hpp"

using namespace waterfill;

namespace waterfill {
namespace {

constexpr unsigned kRowsOfBlock = 256;

// Calls visit(row, column) for what a thread takes.
template <class Visit>
__device__ void each_of_column(unsigned n, unsigned columns, Visit visit) {
  const unsigned column = blockIdx.y * blockDim.x + threadIdx.x;
  const std::size_t first = static_cast<std::size_t>(blockIdx.x) * kRowsOfBlock;
  const std::size_t end = first + kRowsOfBlock < n ? first + kRowsOfBlock : n;
  for (std::size_t row = first; column < columns && row < end; ++row) visit(row, column);
}

}  // namespace
}  // namespace waterfill

// Grid of all kernels that take columns: blocks of 256 rows, blocks of columns.
// ranges: the smallest and the largest value of each column, as ordered_score; all bits set and 0
// before.
extern "C" __global__ void column_ranges(const float* y, unsigned n, unsigned columns,
                                         unsigned* ranges) {
  unsigned low = 0xffffffffu, high = 0;
  each_of_column(n, columns, [&](std::size_t row, unsigned column) {
    const unsigned value = ordered_score(y[row * columns + column]);
    low = value < low ? value : low;
    high = value > high ? value : high;
  });
  const unsigned column = blockIdx.y * blockDim.x + threadIdx.x;
  if (column >= columns) return;
  atomicMin(ranges + 2 * column, low);
  atomicMax(ranges + 2 * column + 1, high);
}

// The histogram of one column; counts: kSeedBins, zero before. A thread takes a row.
extern "C" __global__ void column_histogram(const float* y, unsigned n, unsigned columns,
                                            unsigned column, double low, double width,
                                            unsigned* counts) {
  const std::size_t row = thread_of_grid();
  if (row < n) atomicAdd(counts + seed_bin(y[row * columns + column], low, width), 1u);
}

// Every step-th row in the fixed point of codebooks: scales by column. out: n rows of `columns`
// values.
extern "C" __global__ void scale_columns(const float* y, unsigned n, unsigned step,
                                         unsigned columns, const float* scales, std::int16_t* out) {
  each_of_column(n, columns, [&](std::size_t row, unsigned column) {
    out[row * columns + column] =
        codebook_coordinate(y[row * step * columns + column], scales[column]);
  });
}

// The column of a second byte: the coordinate minus the centroid that its first byte chooses. book:
// 256 values; codes: codes[row * code_size]. A thread takes a row.
extern "C" __global__ void subtract_centroids(float* y, unsigned n, unsigned columns, unsigned from,
                                              unsigned to, const float* book,
                                              const std::uint8_t* codes, unsigned code_size) {
  const std::size_t row = thread_of_grid();
  if (row >= n) return;
  y[row * columns + to] = y[row * columns + from] - book[codes[row * code_size]];
}

// Copies rows: out[i] = x[numbers[i]]. A block takes a row at a time.
extern "C" __global__ void take_rows(const float* x, unsigned d, const unsigned* numbers,
                                     unsigned n, float* out) {
  for (std::size_t i = blockIdx.x; i < n; i += gridDim.x) {
    const float* row = x + static_cast<std::size_t>(numbers[i]) * d;
    for (unsigned k = threadIdx.x; k < d; k += blockDim.x) out[i * d + k] = row[k];
  }
}
