// What the core needs of the operating system, apart from files: memory by pages, what to do at a
// fork, and threads. system_posix.cpp and system_windows.cpp implement it; no other file of the
// core includes a header of a system.
#pragma once

#include <cstddef>
#include <cstdint>

namespace waterfill {

constexpr std::size_t kHugePage = std::size_t{2} << 20;  // bytes

// Reserves addresses for `bytes`, a multiple of kHugePage, backed by huge pages where the system
// has them. Null if the system refuses. Memory comes with `commit_pages`.
std::uint8_t* reserve_pages(std::size_t bytes) noexcept;
// Makes reserved bytes usable; they are zero at first. False if the system has no memory.
bool commit_pages(std::uint8_t* start, std::size_t bytes) noexcept;
// Gives the memory of some pages back and keeps their addresses. Their content is lost.
void discard_pages(std::uint8_t* start, std::size_t bytes) noexcept;
// Gives up all that `reserve_pages` has returned.
void release_pages(std::uint8_t* start, std::size_t bytes) noexcept;

// Advises the system to back this memory with huge pages, where it has them.
void prefer_huge_pages(void* data, std::size_t bytes) noexcept;

// Tells the system that bytes of a mapped file are read here and there, so that it reads no pages
// around them.
void expect_scattered_reads(const void* data, std::size_t size) noexcept;

// Asks for some bytes of a mapped file, without waiting for them.
void request(const void* data, std::size_t size) noexcept;

// How often this thread has waited for a page from a disk. 0 where the system does not tell.
long page_reads() noexcept;

// Calls functions at each fork of the process, each unless it is null. Windows has no forks.
void at_fork(void (*before)(), void (*in_parent)(), void (*in_child)());

// Waits until the process ends.
[[noreturn]] void sleep_for_ever() noexcept;

}  // namespace waterfill
