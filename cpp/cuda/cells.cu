// The cell of each row: that with the largest relative * product / 32767 - bias, the first of ties.
// A warp takes a row, and its lanes take cells in turn.
#include "device.hpp"

using namespace waterfill;

// products: n rows of `stride` values, of which the first `cells` count.
extern "C" __global__ void best_cells(const std::int16_t* products, unsigned n, unsigned stride,
                                      unsigned cells, const float* relative, const float* biases,
                                      std::uint16_t* out) {
  constexpr float kInt16 = 32767;
  const std::size_t row = thread_of_grid() / kWarp;
  const unsigned lane = threadIdx.x % kWarp;
  if (row >= n) return;  // the whole warp
  const float unit = relative[row] / kInt16;
  float best = negative_infinity();
  unsigned cell = 0;
  for (unsigned c = lane; c < cells; c += kWarp) {
    const float score = static_cast<float>(products[row * stride + c]) * unit - biases[c];
    if (score > best) {
      best = score;
      cell = c;
    }
  }
  for (unsigned distance = kWarp / 2; distance > 0; distance /= 2) {
    const float other = __shfl_xor_sync(kAllLanes, best, distance);
    const unsigned number = __shfl_xor_sync(kAllLanes, cell, distance);
    if (other > best || (other == best && number < cell)) {
      best = other;
      cell = number;
    }
  }
  if (lane == 0) out[row] = static_cast<std::uint16_t>(cell);
}
