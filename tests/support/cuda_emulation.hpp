// CUDA's grid, blocks and warps on one thread of the CPU, for tests: a kernel is compiled as C++
// and its threads are fibers, which take turns at barriers. Blocks run one after the other.
#pragma once

#include <math.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __launch_bounds__(...)

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};

extern dim3 gridDim, blockIdx, blockDim, threadIdx;

namespace emulation {

inline constexpr unsigned kWarp = 32;

// Runs `thread` for all threads of a grid.
void run(dim3 grid, unsigned threads, std::size_t shared, const std::function<void()>& thread);
// Waits for the other threads of the block, or of the warp.
void wait_for_block();
void wait_for_warp();
void* dynamic_memory();
std::uint64_t* warp_slots();  // a slot per lane

template <class... Args, std::size_t... I>
void call(void (*kernel)(Args...), void** args, std::index_sequence<I...>) {
  kernel(*static_cast<Args*>(args[I])...);
}

template <class... Args>
void launch(void (*kernel)(Args...), unsigned x, unsigned y, unsigned threads, std::size_t shared,
            void** args) {
  run({x, y, 1}, threads, shared, [&] { call(kernel, args, std::index_sequence_for<Args...>()); });
}

// The value of another lane, or the own one for a lane outside the group of `width` lanes.
template <class T>
T value_of(T value, unsigned lane) {
  static_assert(sizeof(T) <= 8);
  std::uint64_t* slots = warp_slots();
  std::memcpy(&slots[threadIdx.x % kWarp], &value, sizeof value);
  wait_for_warp();
  T result;
  std::memcpy(&result, &slots[lane], sizeof result);
  wait_for_warp();
  return result;
}

}  // namespace emulation

// The entry that a test calls for a kernel.
#define EMULATED_KERNEL(name)                                                                 \
  extern "C" void launch_##name(unsigned x, unsigned y, unsigned threads, std::size_t shared, \
                                void** args) {                                                \
    emulation::launch(&name, x, y, threads, shared, args);                                    \
  }

#define WATERFILL_DYNAMIC_SHARED(type, name) \
  type* name = static_cast<type*>(emulation::dynamic_memory())

inline void __syncthreads() {
  emulation::wait_for_block();
}
inline void __syncwarp(unsigned = 0xffffffffu) {
  emulation::wait_for_warp();
}

template <class T>
T __shfl_sync(unsigned, T value, unsigned source, unsigned width = 32) {
  const unsigned lane = threadIdx.x % emulation::kWarp;
  return emulation::value_of(value, lane / width * width + source % width);
}
template <class T>
T __shfl_xor_sync(unsigned, T value, unsigned mask) {
  return emulation::value_of(value, (threadIdx.x % emulation::kWarp) ^ mask);
}
template <class T>
T __shfl_down_sync(unsigned, T value, unsigned distance) {
  const unsigned lane = threadIdx.x % emulation::kWarp, from = lane + distance;
  return emulation::value_of(value, from < emulation::kWarp ? from : lane);
}

inline int __dp4a(int a, int b, int sum) {
  for (int i = 0; i < 4; ++i) {
    sum += static_cast<std::int8_t>(a >> (8 * i)) * static_cast<std::int8_t>(b >> (8 * i));
  }
  return sum;
}

namespace waterfill {
// PRMT, as the processors of NVIDIA do it.
inline std::uint32_t permuted_bytes(std::uint32_t a, std::uint32_t b, std::uint32_t selectors) {
  const std::uint64_t bytes = a | std::uint64_t{b} << 32;
  std::uint32_t result = 0;
  for (int i = 0; i < 4; ++i) {
    const std::uint32_t selector = selectors >> (4 * i) & 15;
    const auto byte = static_cast<std::uint8_t>(bytes >> (8 * (selector & 7)));
    const std::uint32_t sign = byte >= 128 ? 255 : 0;
    result |= (selector < 8 ? byte : sign) << (8 * i);
  }
  return result;
}
}  // namespace waterfill

inline float __uint_as_float(unsigned bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// Fibers take turns at barriers only, so plain arithmetic is atomic.
template <class T>
T atomicMin(T* to, T value) {
  return std::exchange(*to, std::min(*to, value));
}
template <class T>
T atomicMax(T* to, T value) {
  return std::exchange(*to, std::max(*to, value));
}
template <class T>
T atomicAdd(T* to, T value) {
  const T before = *to;
  *to = static_cast<T>(before + value);
  return before;
}
