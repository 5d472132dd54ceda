// A file for a test, which is removed with the object.
#pragma once

#include <atomic>
#include <filesystem>
#include <random>
#include <string>
#ifdef _WIN32
#include <io.h>
#else
#include <unistd.h>
#endif

#include "core_check.hpp"
#include "waterfill/file/byte_io.hpp"

namespace waterfill {

class TemporaryFile {
 public:
  TemporaryFile() : path_(free_path()), file_(std::fopen(path_.c_str(), "w+b")) {
    expect(file_ != nullptr, "no temporary file");
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    std::fclose(file_);
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }

  FileHandle handle() const {
#ifdef _WIN32
    return ::_get_osfhandle(::_fileno(file_));
#else
    return ::fileno(file_);
#endif
  }
  const std::string& path() const { return path_; }

  void empty() const {
    std::error_code error;
    std::filesystem::resize_file(path_, 0, error);
    expect(!error && std::fseek(file_, 0, SEEK_SET) == 0, "cannot empty a file");
  }

 private:
  static std::string free_path() {
    static std::atomic<unsigned> number{std::random_device()()};
    const std::string name = "waterfill-check-" + std::to_string(number++);
    return (std::filesystem::temp_directory_path() / name).string();
  }

  std::string path_;
  std::FILE* file_;
};

}  // namespace waterfill
