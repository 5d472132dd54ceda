// Products of rows with a matrix in fixed point: the rotation of encoding, and the products with
// the centroids of cells.
//
// A block computes a tile of 64 rows and 64 columns, a thread 4 by 4 of them. Rows and matrix pass
// through shared memory 16 words at a time; a word holds four int8 or two int16. Sums are integers,
// so their order does not matter.
#include "device.hpp"

namespace waterfill {
namespace {

constexpr unsigned kTile = 64, kDepth = 16, kSide = 4, kThreads = 256;

struct Int8Words {
  // Row values are 0 to 127, so that they are also signed bytes.
  static __device__ int dot(int a, int b, int sum) { return __dp4a(a, b, sum); }
};

struct Int16Words {
  static __device__ int dot(int a, int b, int sum) {
    sum += static_cast<std::int16_t>(a) * static_cast<std::int16_t>(b);
    return sum + (a >> 16) * (b >> 16);
  }
};

// x: n rows of `words` words. w: panels of kPanel columns, word after word. row_units, offsets: or
// null. y: n rows of panels * kPanel values.
template <class Words>
__device__ void multiply(const int* x, unsigned n, unsigned words, const int* w,
                         const std::int32_t* offsets, const float* units, const float* row_units,
                         unsigned panels, std::int16_t* y) {
  __shared__ int rows[kDepth][kTile + 4], columns[kDepth][kTile];  // aligned to four words
  const unsigned t = threadIdx.x, stride = panels * kPanel;
  const std::size_t first_row = static_cast<std::size_t>(blockIdx.x) * kTile;
  const unsigned first_column = blockIdx.y * kTile;
  const unsigned own_row = t / kDepth * kSide, own_column = t % kDepth * kSide;
  int sums[kSide][kSide] = {};
  for (unsigned first = 0; first < words; first += kDepth) {
    for (unsigned i = t; i < kTile * kDepth; i += kThreads) {
      const unsigned k = i % kDepth, r = i / kDepth;
      const bool inside = first + k < words && first_row + r < n;
      rows[k][r] = inside ? x[(first_row + r) * words + first + k] : 0;
    }
    for (unsigned i = t; i < kTile * kDepth; i += kThreads) {
      const unsigned column = i % kPanel, k = i / kPanel % kDepth, panel = i / (kPanel * kDepth);
      const std::size_t number = first_column / kPanel + panel;
      const bool inside = first + k < words && number < panels;
      columns[k][panel * kPanel + column] =
          inside ? w[(number * words + first + k) * kPanel + column] : 0;
    }
    __syncthreads();
#pragma unroll
    for (unsigned k = 0; k < kDepth; ++k) {
#pragma unroll
      for (unsigned i = 0; i < kSide; ++i) {
#pragma unroll
        for (unsigned j = 0; j < kSide; ++j) {
          sums[i][j] = Words::dot(rows[k][own_row + i], columns[k][own_column + j], sums[i][j]);
        }
      }
    }
    __syncthreads();
  }
  for (unsigned i = 0; i < kSide; ++i) {
    const std::size_t r = first_row + own_row + i;
    for (unsigned j = 0; j < kSide; ++j) {
      const unsigned column = first_column + own_column + j;
      if (r >= n || column >= stride) continue;
      const int sum = offsets != nullptr ? sums[i][j] - offsets[column] : sums[i][j];
      float value = static_cast<float>(sum) * units[column];
      if (row_units != nullptr) value = value * row_units[r];
      y[r * stride + column] = to_int16(value);
    }
  }
}

}  // namespace
}  // namespace waterfill

using namespace waterfill;

// Grid: tiles of rows, tiles of columns; 256 threads. `words` counts four values each.
extern "C" __global__ void rotate_int8(const int* x, unsigned n, unsigned words, const int* w,
                                       const std::int32_t* offsets, const float* units,
                                       const float* row_units, unsigned panels, std::int16_t* y) {
  multiply<Int8Words>(x, n, words, w, offsets, units, row_units, panels, y);
}

// `words` counts two values each.
extern "C" __global__ void rotate_int16(const int* x, unsigned n, unsigned words, const int* w,
                                        const float* units, unsigned panels, std::int16_t* y) {
  multiply<Int16Words>(x, n, words, w, nullptr, units, nullptr, panels, y);
}
