// Vectors whose elements begin where a cache line does: kernels load whole lines, and a load that
// crosses from one to the next costs two.
#pragma once

#include <cstddef>
#include <new>
#include <vector>

namespace waterfill {

template <class T>
struct AlignedAllocator {
  using value_type = T;
  static constexpr std::align_val_t kLine{64};

  AlignedAllocator() = default;
  template <class U>
  AlignedAllocator(const AlignedAllocator<U>&) {}

  T* allocate(std::size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), kLine)); }
  void deallocate(T* data, std::size_t) { ::operator delete(data, kLine); }

  template <class U>
  bool operator==(const AlignedAllocator<U>&) const {
    return true;
  }
};

template <class T>
using Aligned = std::vector<T, AlignedAllocator<T>>;

}  // namespace waterfill
