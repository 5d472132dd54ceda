#include "waterfill/file/byte_io.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "kernels.hpp"
#include "waterfill/core/interruption.hpp"
#include "waterfill/core/types.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kLargestStep = std::size_t{16} << 20;  // bytes between looks for Ctrl-C

[[noreturn]] void fail_io(const std::string& what, const std::string& path) {
  throw FileError(errno, what, path);
}

class FileSource : public Source {
 public:
  explicit FileSource(const std::string& path) : path_(path) {
    fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd_ < 0) fail_io("cannot open", path);
    struct stat status{};
    if (::fstat(fd_, &status) != 0 || S_ISDIR(status.st_mode)) {
      if (S_ISDIR(status.st_mode)) errno = EISDIR;
      ::close(fd_);
      fail_io("cannot read", path);
    }
    size_ = static_cast<std::uint64_t>(status.st_size);
  }
  FileSource(const FileSource&) = delete;
  FileSource& operator=(const FileSource&) = delete;
  ~FileSource() override { ::close(fd_); }

  std::uint64_t size() const override { return size_; }

  void read(std::uint64_t offset, void* out, std::size_t size) const override {
    char* next = static_cast<char*>(out);
    while (size > 0) {
      throw_if_interrupted();
      const ssize_t done =
          ::pread(fd_, next, std::min(size, kLargestStep), static_cast<off_t>(offset));
      if (done < 0 && errno == EINTR) continue;
      if (done < 0) fail_io("cannot read", path_);
      if (done == 0) throw FormatError("the file ends early, at byte " + std::to_string(offset));
      next += done;
      offset += static_cast<std::uint64_t>(done);
      size -= static_cast<std::size_t>(done);
    }
  }

 private:
  std::string path_;
  int fd_ = -1;
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

void FileSink::write(const void* data, std::size_t size) {
  const char* next = static_cast<const char*>(data);
  while (size > 0) {
    throw_if_interrupted();
    const ssize_t done = ::write(fd_, next, std::min(size, kLargestStep));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) fail_io("cannot write", path_);
    next += done;
    size -= static_cast<std::size_t>(done);
  }
}

void FileSink::patch(std::uint64_t offset, const void* data, std::size_t size) {
  if (::lseek(fd_, static_cast<off_t>(offset), SEEK_SET) < 0) fail_io("cannot seek in", path_);
  write(data, size);
}

}  // namespace waterfill
