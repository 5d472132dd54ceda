// What fuzz targets do with an index that a reader accepted: all that reads its numbers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "waterfill/file/index_file.hpp"

namespace waterfill {

constexpr std::size_t kRows = 5;  // of vectors_for

// Stops the run at a result that cannot be right.
[[noreturn]] void fail(const char* what);

// Vectors near the mean, of zeros, of the largest and of the smallest numbers.
std::vector<float> vectors_for(const Codec& codec);

// Searches in every way, and requires distances that can be right.
void search(const Index& index, const IndexSettings& settings, const Rows& queries);

// Reads everything of an index whose vectors may be damaged: answers may be wrong.
void use_mapped(const StoredIndex& stored);

// A file in memory.
class InputFile {
 public:
  InputFile(const std::uint8_t* data, std::size_t size);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;
  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }
  int fd() const { return fd_; }
  std::vector<std::uint8_t> bytes() const;

 private:
  int fd_;
};

}  // namespace waterfill
