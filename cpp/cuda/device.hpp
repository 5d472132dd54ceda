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

#if defined(__CUDACC__)  // the emulation has its own
// PRMT: byte i of the result is the one of a (0 to 3) and b (4 to 7) that the lower three bits of
// nibble i of `selectors` name; where the highest bit is set, only that byte's sign, 0 or 255.
__device__ inline std::uint32_t permuted_bytes(std::uint32_t a, std::uint32_t b,
                                               std::uint32_t selectors) {
  std::uint32_t result;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(result) : "r"(a), "r"(b), "r"(selectors));
  return result;
}
#endif

// The number of a thread in the grid, which has one dimension.
__device__ inline std::size_t thread_of_grid() {
  return static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

__device__ inline bool is_finite(float value) {
  return (float_bits(value) & 0x7f800000u) != 0x7f800000u;
}

}  // namespace waterfill
