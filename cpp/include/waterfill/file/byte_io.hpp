// Bytes in and out of files and memory, and their checksum.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <system_error>
#include <utility>

namespace waterfill {

// An open file: a descriptor, or a HANDLE of Windows.
using FileHandle = std::intptr_t;

// An error of the operating system. `path` has the encoding that the caller used.
struct FileError : std::system_error {
  FileError(int number, const std::string& what, std::string file)
      : std::system_error(number, std::generic_category(), what), path(std::move(file)) {}
  std::string path;
};

// The CRC-32C checksum. crc: the checksum of the preceding bytes.
std::uint32_t crc32c(const void* data, std::size_t size, std::uint32_t crc = 0);

class Source {
 public:
  virtual ~Source() = default;
  virtual std::uint64_t size() const = 0;
  virtual void read(std::uint64_t offset, void* out, std::size_t size) const = 0;
  // All bytes, if they lie in memory; else null.
  virtual const std::uint8_t* in_memory() const { return nullptr; }
};

std::unique_ptr<Source> open_file(const std::string& path);
std::unique_ptr<Source> over_bytes(const void* data, std::size_t size);  // not copied

// Writes sequentially; `patch` overwrites bytes that have been written.
class Sink {
 public:
  virtual ~Sink() = default;
  virtual void write(const void* data, std::size_t size) = 0;
  virtual void patch(std::uint64_t offset, const void* data, std::size_t size) = 0;
};

class StringSink : public Sink {
 public:
  void write(const void* data, std::size_t size) override;
  void patch(std::uint64_t offset, const void* data, std::size_t size) override;
  std::string bytes;
};

class FileSink : public Sink {
 public:
  // Writes to an open file, which stays open. path: for messages.
  FileSink(FileHandle file, std::string path) : file_(file), path_(std::move(path)) {}

  void write(const void* data, std::size_t size) override;
  void patch(std::uint64_t offset, const void* data, std::size_t size) override;

 private:
  FileHandle file_;
  std::string path_;
};

}  // namespace waterfill
