#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "file/system_files.hpp"
#include "waterfill/file/mapped_file.hpp"

namespace waterfill {
namespace {

[[noreturn]] void fail(const std::string& what, const std::string& path) {
  throw FileError(errno, what, path);
}

int descriptor(FileHandle file) {
  return static_cast<int>(file);
}

// A descriptor that is closed at the end of a scope.
struct Descriptor {
  explicit Descriptor(int opened) : fd(opened) {}
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int fd;
};

// Repeats a call that a signal has interrupted.
template <class Call>
std::size_t repeated(const Call& call, const char* what, const std::string& path) {
  for (;;) {
    const auto done = call();
    if (done >= 0) return static_cast<std::size_t>(done);
    if (errno != EINTR) fail(what, path);
  }
}

}  // namespace

FileHandle open_to_read(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail("cannot open", path);
  struct stat status{};
  if (::fstat(fd, &status) != 0 || S_ISDIR(status.st_mode)) {
    const int error = S_ISDIR(status.st_mode) ? EISDIR : errno;
    ::close(fd);
    throw FileError(error, "cannot read", path);
  }
  return fd;
}

void close_file(FileHandle file) noexcept {
  ::close(descriptor(file));
}

std::uint64_t file_size(FileHandle file, const std::string& path) {
  struct stat status{};
  if (::fstat(descriptor(file), &status) != 0) fail("cannot read", path);
  return static_cast<std::uint64_t>(status.st_size);
}

std::size_t read_at(FileHandle file, std::uint64_t offset, void* out, std::size_t size,
                    const std::string& path) {
  return repeated([&] { return ::pread(descriptor(file), out, size, static_cast<off_t>(offset)); },
                  "cannot read", path);
}

std::size_t write_some(FileHandle file, const void* data, std::size_t size,
                       const std::string& path) {
  return repeated([&] { return ::write(descriptor(file), data, size); }, "cannot write", path);
}

void set_position(FileHandle file, std::uint64_t offset, const std::string& path) {
  if (::lseek(descriptor(file), static_cast<off_t>(offset), SEEK_SET) < 0) {
    fail("cannot seek in", path);
  }
}

// The pages are reserved first, with one more than the file needs, and the file is mapped over
// them. O_NONBLOCK: opening a named pipe would wait for a writer.
MappedFile::MappedFile(const std::string& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status{};
  if (file.fd < 0 || ::fstat(file.fd, &status) != 0) fail("cannot open", path);
  if (!S_ISREG(status.st_mode)) throw FileError(EINVAL, "cannot map", path);
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  size_ = static_cast<std::size_t>(status.st_size);
  reserved_ = (size_ + page - 1) / page * page + page;
  void* reserved =
      ::mmap(nullptr, reserved_, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) fail("cannot map", path);
  data_ = static_cast<std::uint8_t*>(reserved);
  if (size_ == 0) return;
  if (::mmap(data_, size_, PROT_READ, MAP_SHARED | MAP_FIXED, file.fd, 0) == MAP_FAILED) {
    const int error = errno;
    ::munmap(data_, reserved_);
    throw FileError(error, "cannot map", path);
  }
}

MappedFile::~MappedFile() {
  ::munmap(data_, reserved_);
}

}  // namespace waterfill
