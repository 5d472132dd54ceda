#include "index/read_ahead.hpp"

#if defined(__linux__)
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#endif

#include <cstdint>

namespace waterfill {
namespace {

// Calls without a fault after which a thread stops asking.
constexpr int kCalls = 256;
thread_local int calls_left = 0;

#if defined(__linux__)
long major_faults() noexcept {
  struct rusage usage{};
  return ::getrusage(RUSAGE_THREAD, &usage) == 0 ? usage.ru_majflt : 0;
}

// Whole pages that contain some bytes.
void advise(const void* data, std::size_t size, int advice) noexcept {
  static const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const std::uintptr_t before = reinterpret_cast<std::uintptr_t>(data) % page;
  auto* first = static_cast<char*>(const_cast<void*>(data)) - before;
  static_cast<void>(::madvise(first, before + size, advice));
}
#endif

}  // namespace

void expect_scattered_reads([[maybe_unused]] const void* data,
                            [[maybe_unused]] std::size_t size) noexcept {
#if defined(__linux__)
  if (size > 0) advise(data, size, MADV_RANDOM);
#endif
}

void request([[maybe_unused]] const void* data, [[maybe_unused]] std::size_t size) noexcept {
#if defined(__linux__)
  if (size > 0) advise(data, size, MADV_WILLNEED);
#endif
}

ReadAhead::ReadAhead() noexcept : faults_(0) {
#if defined(__linux__)
  faults_ = major_faults();
#endif
}

bool ReadAhead::wanted() noexcept {
#if defined(__linux__)
  const long faults = major_faults();
  if (faults != faults_) {
    calls_left = kCalls;
  } else if (calls_left > 0) {
    --calls_left;
  }
#endif
  return calls_left > 0;
}

}  // namespace waterfill
