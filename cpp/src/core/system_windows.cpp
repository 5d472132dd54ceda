#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>

#include "waterfill/core/system.hpp"

namespace waterfill {

// Large pages need a privilege that users do not have, so the memory has ordinary ones.
std::uint8_t* reserve_pages(std::size_t bytes) noexcept {
  return static_cast<std::uint8_t*>(::VirtualAlloc(nullptr, bytes, MEM_RESERVE, PAGE_NOACCESS));
}

bool commit_pages(std::uint8_t* start, std::size_t bytes) noexcept {
  return ::VirtualAlloc(start, bytes, MEM_COMMIT, PAGE_READWRITE) != nullptr;
}

void discard_pages(std::uint8_t* start, std::size_t bytes) noexcept {
  ::VirtualFree(start, bytes, MEM_DECOMMIT);
}

void release_pages(std::uint8_t* start, std::size_t) noexcept {
  ::VirtualFree(start, 0, MEM_RELEASE);
}

void prefer_huge_pages(void*, std::size_t) noexcept {}

// Windows reads around each page of a mapped file, whatever the program says.
void expect_scattered_reads(const void*, std::size_t) noexcept {}

void request(const void* data, std::size_t size) noexcept {
  WIN32_MEMORY_RANGE_ENTRY range{const_cast<void*>(data), size};
  if (size > 0) ::PrefetchVirtualMemory(::GetCurrentProcess(), 1, &range, 0);
}

// There is no count of a thread's own.
long page_reads() noexcept {
  return 0;
}

void at_fork(void (*)(), void (*)(), void (*)()) {}

void sleep_for_ever() noexcept {
  for (;;) ::Sleep(INFINITE);
}

}  // namespace waterfill
