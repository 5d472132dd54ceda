// A file for a test, which is removed with the object.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <string>

#include "core_check.hpp"

namespace waterfill {

class TemporaryFile {
 public:
  TemporaryFile() : fd_(::mkstemp(path_.data())) { expect(fd_ >= 0, "no temporary file"); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    ::close(fd_);
    ::unlink(path_.c_str());
  }
  int fd() const { return fd_; }
  const std::string& path() const { return path_; }
  void empty() const {
    expect(::ftruncate(fd_, 0) == 0 && ::lseek(fd_, 0, SEEK_SET) == 0, "cannot empty a file");
  }

 private:
  std::string path_ = "/tmp/waterfill-check-XXXXXX";
  int fd_;
};

}  // namespace waterfill
