// The update of k-means: sums of the rows of each centroid, in fixed point.
//
// A block takes 2,048 rows and a strip of the columns of one group, at most 24. It adds values in
// shared memory, where they fit 32 bits, and then adds its sums to those of all rows, with 64 bits.
// The sums are integers, so their order does not matter, and the CPU has the same.
#include "device.hpp"

namespace waterfill {
namespace {

constexpr unsigned kRows = 2048, kStrip = 24;

// Columns of a group: `width` of them from `first` on. The group has the columns from `offset` on.
struct Strip {
  unsigned group, offset, group_width, first, width;
};

__device__ void add(unsigned long long* to, unsigned long long value) {
  if (value != 0) atomicAdd(to, value);
}

// Adds the sum of the squares of a warp, in two parts of which none overflows.
__device__ void add_squares(unsigned long long own, unsigned long long* squares) {
  unsigned long long low = own & 0xffffffffu, high = own >> 32;
  for (unsigned half = kWarp / 2; half > 0; half /= 2) {
    low += __shfl_down_sync(kAllLanes, low, half);
    high += __shfl_down_sync(kAllLanes, high, half);
  }
  if (threadIdx.x % kWarp != 0) return;
  add(squares, low);
  add(squares + 1, high);
}

}  // namespace
}  // namespace waterfill

using namespace waterfill;

// Grid: blocks of rows, strips. y: rows of `columns` values, of which every step-th counts, n of
// them. units: by group. labels: labels[row * groups + group]. sums: of each group, 256 rows of its
// width; counts: 256 of each group; squares: two of each group.
extern "C" __global__ void centroid_sums(const float* y, unsigned n, unsigned step,
                                         unsigned columns, const unsigned* strips,
                                         const float* units, const std::uint8_t* labels,
                                         unsigned groups, unsigned long long* sums,
                                         unsigned* counts, unsigned long long* squares) {
  __shared__ int own[kCentroids * kStrip];
  __shared__ unsigned rows_of[kCentroids];
  const Strip strip = reinterpret_cast<const Strip*>(strips)[blockIdx.y];
  const float unit = units[strip.group];
  for (unsigned i = threadIdx.x; i < kCentroids * kStrip; i += blockDim.x) own[i] = 0;
  for (unsigned i = threadIdx.x; i < kCentroids; i += blockDim.x) rows_of[i] = 0;
  __syncthreads();
  const std::size_t start = static_cast<std::size_t>(blockIdx.x) * kRows;
  const unsigned rows = n - start < kRows ? static_cast<unsigned>(n - start) : kRows;
  unsigned long long own_squares = 0;
  for (unsigned i = threadIdx.x; i < rows * strip.width; i += blockDim.x) {
    const unsigned j = i % strip.width;
    const std::size_t row = start + i / strip.width;
    const unsigned label = labels[row * groups + strip.group];
    const int value = summand(y[row * step * columns + strip.first + j], unit);
    atomicAdd(own + j * kCentroids + label, value);
    const long long wide = value;
    own_squares += static_cast<unsigned long long>(wide * wide);
    if (j == 0) atomicAdd(rows_of + label, 1u);
  }
  add_squares(own_squares, squares + 2 * strip.group);
  __syncthreads();
  unsigned long long* all = sums + static_cast<std::size_t>(strip.offset) * kCentroids;
  const unsigned before = strip.first - strip.offset;
  for (unsigned i = threadIdx.x; i < kCentroids * strip.width; i += blockDim.x) {
    const unsigned j = i % strip.width, c = i / strip.width;
    const long long sum = own[j * kCentroids + c];
    add(all + c * strip.group_width + before + j, static_cast<unsigned long long>(sum));
  }
  for (unsigned c = threadIdx.x; before == 0 && c < kCentroids; c += blockDim.x) {
    if (rows_of[c] > 0) atomicAdd(counts + strip.group * kCentroids + c, rows_of[c]);
  }
}

// The squared distances of rows from their centroids, in one group. book: `width` rows of 256
// values. A thread takes a row.
extern "C" __global__ void row_errors(const float* y, unsigned n, unsigned step, unsigned columns,
                                      unsigned offset, unsigned width, const float* book,
                                      const std::uint8_t* labels, unsigned groups, unsigned group,
                                      float* errors) {
  const std::size_t row = thread_of_grid();
  if (row >= n) return;
  const float* own = y + row * step * columns + offset;
  const unsigned label = labels[row * groups + group];
  float error = 0;
  for (unsigned j = 0; j < width; ++j) {
    const float gap = own[j] - book[j * kCentroids + label];
    error += gap * gap;
  }
  errors[row] = error;
}
