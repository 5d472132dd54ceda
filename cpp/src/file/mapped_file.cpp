#include "waterfill/file/mapped_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "waterfill/file/byte_io.hpp"

namespace waterfill {
namespace {

// A descriptor that is closed at the end of a scope.
struct Descriptor {
  // O_NONBLOCK: opening a named pipe would wait for a writer.
  explicit Descriptor(const std::string& path)
      : fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int fd;
};

}  // namespace

// The pages are reserved first, with one more than the file needs, and the file is mapped over
// them.
MappedFile::MappedFile(const std::string& path) {
  const Descriptor file(path);
  struct stat status{};
  if (file.fd < 0 || ::fstat(file.fd, &status) != 0) throw FileError(errno, "cannot open", path);
  if (!S_ISREG(status.st_mode)) throw FileError(EINVAL, "cannot map", path);
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  size_ = static_cast<std::size_t>(status.st_size);
  reserved_ = (size_ + page - 1) / page * page + page;
  void* reserved =
      ::mmap(nullptr, reserved_, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) throw FileError(errno, "cannot map", path);
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
