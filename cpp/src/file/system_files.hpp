// Files as the operating system has them. system_files_posix.cpp and system_files_windows.cpp
// implement these functions, and MappedFile. `path` is for errors, which are FileError.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "waterfill/file/byte_io.hpp"

namespace waterfill {

// Opens anything but a directory to read.
FileHandle open_to_read(const std::string& path);
void close_file(FileHandle file) noexcept;
std::uint64_t file_size(FileHandle file, const std::string& path);

// Reads up to `size` bytes from `offset` on; returns how many, 0 at the end. Keeps the position.
std::size_t read_at(FileHandle file, std::uint64_t offset, void* out, std::size_t size,
                    const std::string& path);

// Reads `size` bytes in steps, between which Ctrl-C stops it; in byte_io.cpp. Throws FormatError if
// the file ends early.
void read_exactly(FileHandle file, std::uint64_t offset, void* out, std::size_t size,
                  const std::string& path);

// Writes up to `size` bytes at the position; returns how many.
std::size_t write_some(FileHandle file, const void* data, std::size_t size,
                       const std::string& path);
void set_position(FileHandle file, std::uint64_t offset, const std::string& path);

}  // namespace waterfill
