#include "waterfill/core/aligned_vector.hpp"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace waterfill {

void prefer_huge_pages([[maybe_unused]] void* data, [[maybe_unused]] std::size_t bytes) {
#if defined(__linux__)
  static_cast<void>(::madvise(data, bytes, MADV_HUGEPAGE));  // may be refused
#endif
}

}  // namespace waterfill
