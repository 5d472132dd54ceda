// A vector whose memory is aligned for SIMD kernels and backed by huge pages when it is large.
//
// Kernels load whole cache lines; a load that crosses two of them costs twice as much. Huge pages
// save page-table walks when a scan reads more codes than the caches hold (decision 0023).
#pragma once

#include <cstddef>
#include <new>
#include <vector>

#include "waterfill/core/system.hpp"

namespace waterfill {

// Aligns to a cache line, or to a huge page from the size of one on.
template <class T>
struct AlignedAllocator {
  using value_type = T;
  static constexpr std::size_t kLine = 64;

  AlignedAllocator() = default;
  template <class U>
  AlignedAllocator(const AlignedAllocator<U>&) {}

  T* allocate(std::size_t n) {
    void* data = ::operator new(n * sizeof(T), alignment(n));
    if (is_large(n)) prefer_huge_pages(data, n * sizeof(T) / kHugePage * kHugePage);
    return static_cast<T*>(data);
  }
  void deallocate(T* data, std::size_t n) { ::operator delete(data, alignment(n)); }

  template <class U>
  bool operator==(const AlignedAllocator<U>&) const {
    return true;
  }

 private:
  static bool is_large(std::size_t n) { return n * sizeof(T) >= kHugePage; }
  static std::align_val_t alignment(std::size_t n) {
    return std::align_val_t{is_large(n) ? kHugePage : kLine};
  }
};

template <class T>
using Aligned = std::vector<T, AlignedAllocator<T>>;

}  // namespace waterfill
