// A regular file in memory, read only, and read by the system page by page as it is touched.
//
// The file must not be shortened while it is mapped: the system would end the process with SIGBUS.
// Files of this library are replaced as a whole, never changed in place, so the old content stays.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace waterfill {

class MappedFile {
 public:
  // Throws FileError.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  // A page of zeros follows the content: kernels read whole vectors of bytes.
  const std::uint8_t* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  std::uint8_t* data_ = nullptr;
  std::size_t size_ = 0, reserved_ = 0;
};

}  // namespace waterfill
