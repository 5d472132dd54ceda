#include "waterfill/file/byte_io.hpp"

#include <algorithm>
#include <cstring>

#include "file/system_files.hpp"
#include "kernels.hpp"
#include "waterfill/core/interruption.hpp"
#include "waterfill/core/types.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kLargestStep = std::size_t{16} << 20;  // bytes between looks for Ctrl-C

class FileSource : public Source {
 public:
  explicit FileSource(const std::string& path) : path_(path), file_(open_to_read(path)) {
    try {
      size_ = file_size(file_, path);
    } catch (...) {
      close_file(file_);
      throw;
    }
  }
  FileSource(const FileSource&) = delete;
  FileSource& operator=(const FileSource&) = delete;
  ~FileSource() override { close_file(file_); }

  std::uint64_t size() const override { return size_; }

  void read(std::uint64_t offset, void* out, std::size_t size) const override {
    read_exactly(file_, offset, out, size, path_);
  }

 private:
  std::string path_;
  FileHandle file_;
  std::uint64_t size_ = 0;
};

class MemorySource : public Source {
 public:
  MemorySource(const void* data, std::size_t size)
      : data_(static_cast<const char*>(data)), size_(size) {}
  std::uint64_t size() const override { return size_; }
  void read(std::uint64_t offset, void* out, std::size_t size) const override {
    if (offset > size_ || size > size_ - offset) throw FormatError("the data end early");
    if (size > 0) std::memcpy(out, data_ + offset, size);
  }
  const std::uint8_t* in_memory() const override {
    return reinterpret_cast<const std::uint8_t*>(data_);
  }

 private:
  const char* data_;
  std::size_t size_;
};

}  // namespace

std::uint32_t crc32c(const void* data, std::size_t size, std::uint32_t crc) {
  return ~kernels().crc32c(data, size, ~crc);
}

std::unique_ptr<Source> open_file(const std::string& path) {
  return std::make_unique<FileSource>(path);
}

std::unique_ptr<Source> over_bytes(const void* data, std::size_t size) {
  return std::make_unique<MemorySource>(data, size);
}

void StringSink::write(const void* data, std::size_t size) {
  bytes.append(static_cast<const char*>(data), size);
}

void StringSink::patch(std::uint64_t offset, const void* data, std::size_t size) {
  std::memcpy(bytes.data() + offset, data, size);
}

void read_exactly(FileHandle file, std::uint64_t offset, void* out, std::size_t size,
                  const std::string& path) {
  char* next = static_cast<char*>(out);
  while (size > 0) {
    throw_if_interrupted();
    const std::size_t done = read_at(file, offset, next, std::min(size, kLargestStep), path);
    if (done == 0) throw FormatError("the file ends early, at byte " + std::to_string(offset));
    next += done;
    offset += done;
    size -= done;
  }
}

void FileSink::write(const void* data, std::size_t size) {
  const char* next = static_cast<const char*>(data);
  while (size > 0) {
    throw_if_interrupted();
    const std::size_t done = write_some(file_, next, std::min(size, kLargestStep), path_);
    next += done;
    size -= done;
  }
}

void FileSink::patch(std::uint64_t offset, const void* data, std::size_t size) {
  set_position(file_, offset, path_);
  write(data, size);
}

}  // namespace waterfill
