#include "failing_allocations.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>
#ifdef _WIN32
#include <malloc.h>
#endif

namespace {

// The number of allocations until one fails; negative: none fails.
std::atomic<long> allocations_left{-1};

#ifdef _WIN32
void* aligned(std::size_t size, std::size_t alignment) {
  return _aligned_malloc(size, alignment);
}
void release(void* memory) noexcept {
  _aligned_free(memory);
}
#else
void* aligned(std::size_t size, std::size_t alignment) {
  void* memory = nullptr;
  return posix_memalign(&memory, alignment, size) == 0 ? memory : nullptr;
}
void release(void* memory) noexcept {
  std::free(memory);
}
#endif

void* allocate(std::size_t size, std::size_t alignment) {
  if (allocations_left >= 0 && allocations_left-- == 0) throw std::bad_alloc();
  void* memory = aligned(std::max<std::size_t>(size, 1), std::max(alignment, sizeof(void*)));
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

// Replacements of the global functions, for all allocations of this program.
void* operator new(std::size_t size) {
  return allocate(size, alignof(std::max_align_t));
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  try {
    return allocate(size, alignof(std::max_align_t));
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void operator delete(void* memory, const std::nothrow_t&) noexcept {
  release(memory);
}
void operator delete(void* memory) noexcept {
  release(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  release(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  release(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  release(memory);
}

namespace waterfill {

void fail_allocation(long number) {
  allocations_left = number;
}

}  // namespace waterfill
