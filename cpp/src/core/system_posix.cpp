#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "waterfill/core/system.hpp"

namespace waterfill {
namespace {

// Gives advice on the whole pages that contain some bytes. The system may refuse it.
void advise([[maybe_unused]] const void* data, [[maybe_unused]] std::size_t size,
            [[maybe_unused]] int advice) noexcept {
#if defined(__linux__)
  static const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const std::uintptr_t before = reinterpret_cast<std::uintptr_t>(data) % page;
  auto* first = static_cast<char*>(const_cast<void*>(data)) - before;
  if (size > 0) static_cast<void>(::madvise(first, before + size, advice));
#endif
}

}  // namespace

// One huge page more is mapped, and what lies before and behind the aligned part is unmapped.
std::uint8_t* reserve_pages(std::size_t bytes) noexcept {
  void* all = ::mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (all == MAP_FAILED) return nullptr;
  auto* start = static_cast<std::uint8_t*>(all);
  const std::size_t before =
      (kHugePage - reinterpret_cast<std::uintptr_t>(start) % kHugePage) % kHugePage;
  if (before > 0) ::munmap(start, before);
  ::munmap(start + before + bytes, kHugePage - before);
  prefer_huge_pages(start + before, bytes);
  return start + before;
}

// The system gives memory to what is written.
bool commit_pages(std::uint8_t*, std::size_t) noexcept {
  return true;
}

void discard_pages(std::uint8_t* start, std::size_t bytes) noexcept {
  ::madvise(start, bytes, MADV_DONTNEED);
}

void release_pages(std::uint8_t* start, std::size_t bytes) noexcept {
  ::munmap(start, bytes);
}

#if defined(__linux__)
void prefer_huge_pages(void* data, std::size_t bytes) noexcept {
  static_cast<void>(::madvise(data, bytes, MADV_HUGEPAGE));  // may be refused
}

void expect_scattered_reads(const void* data, std::size_t size) noexcept {
  advise(data, size, MADV_RANDOM);
}

void request(const void* data, std::size_t size) noexcept {
  advise(data, size, MADV_WILLNEED);
}

long page_reads() noexcept {
  struct rusage usage{};
  return ::getrusage(RUSAGE_THREAD, &usage) == 0 ? usage.ru_majflt : 0;
}
#else
void prefer_huge_pages(void*, std::size_t) noexcept {}
void expect_scattered_reads(const void*, std::size_t) noexcept {}
void request(const void*, std::size_t) noexcept {}
long page_reads() noexcept {
  return 0;
}
#endif

void at_fork(void (*before)(), void (*in_parent)(), void (*in_child)()) {
  pthread_atfork(before, in_parent, in_child);
}

void sleep_for_ever() noexcept {
  for (;;) ::pause();
}

}  // namespace waterfill
