// What all CUDA kernels start from. NVRTC compiles them on the machine that runs them; the tests
// compile them as C++ over an emulation of the grid (tests/support/cuda_emulation.hpp).
//
// The compiler must not fuse products and sums (--fmad=false), or results would differ from those
// of the CPU.
#pragma once

#include "waterfill/core/arithmetic.hpp"

#if !defined(WATERFILL_DYNAMIC_SHARED)  // the emulation has its own
#define WATERFILL_DYNAMIC_SHARED(type, name) extern __shared__ type name[]
#endif

namespace waterfill {

inline constexpr unsigned kWarp = 32;
inline constexpr unsigned kAllLanes = 0xffffffffu;

// The number of a thread in the grid, which has one dimension.
__device__ inline std::size_t thread_of_grid() {
  return static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

__device__ inline bool is_finite(float value) {
  return (float_bits(value) & 0x7f800000u) != 0x7f800000u;
}

}  // namespace waterfill
