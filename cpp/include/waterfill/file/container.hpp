// The container that every waterfill file is: a header, a table of named sections, the sections.
// FORMAT.md describes it byte by byte.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "waterfill/core/types.hpp"

namespace waterfill {

enum class FileKind : std::uint32_t { codec = 1, flat_index = 2, ivf_index = 3 };

using Emit = std::function<void(const void* data, std::size_t size)>;

// `write` hands the section's bytes to Emit, in as many pieces as it likes.
struct Section {
  std::string tag;  // at most 8 characters
  std::function<void(const Emit&)> write;
  bool optional = false;  // a reader that does not know it may go on without
};

// The operating system refused something; `path` is as the caller gave it, in any encoding.
struct FileError : std::system_error {
  FileError(int number, const std::string& what, std::string file)
      : std::system_error(number, std::generic_category(), what), path(std::move(file)) {}
  std::string path;
};

// The file appears under `path` whole or not at all: a temporary file beside it is written, synced
// and renamed. Throws std::system_error.
void write_file(const std::string& path, FileKind kind, const std::vector<Section>& sections);
std::string to_bytes(FileKind kind, const std::vector<Section>& sections);

std::uint32_t crc32c(const void* data, std::size_t size, std::uint32_t crc = 0);

// Where a container is read from.
class Source {
 public:
  virtual ~Source() = default;
  virtual std::uint64_t size() const = 0;
  virtual void read(std::uint64_t offset, void* out, std::size_t size) const = 0;
};

std::unique_ptr<Source> open_file(const std::string& path);
std::unique_ptr<Source> over_bytes(const void* data, std::size_t size);  // not copied

// Reads one section from front to back; finish() compares the checksum.
class SectionReader {
 public:
  SectionReader(const Source& source, std::string tag, std::uint64_t offset, std::uint64_t size,
                std::uint32_t crc);
  void read(void* out, std::size_t size);
  void finish() const;
  std::uint64_t left() const { return left_; }

 private:
  const Source& source_;
  std::string tag_;
  std::uint64_t offset_, left_;
  std::uint32_t wanted_, crc_ = 0;
};

// A container whose header and table have been checked. All errors are FormatError.
class Container {
 public:
  Container(std::unique_ptr<Source> source, const std::vector<FileKind>& wanted);

  FileKind kind() const { return kind_; }
  // The section, which must be there and have `size` bytes.
  SectionReader section(const std::string& tag, std::uint64_t size) const;
  std::uint64_t section_size(const std::string& tag) const;
  bool has(const std::string& tag) const;

  template <class T>
  std::vector<T> array(const std::string& tag, std::uint64_t count) const {
    SectionReader reader = section(tag, count * sizeof(T));
    std::vector<T> values(count);
    reader.read(values.data(), count * sizeof(T));
    reader.finish();
    return values;
  }

 private:
  struct Entry {
    std::string tag;
    std::uint64_t offset, size;
    std::uint32_t crc;
  };
  const Entry& find(const std::string& tag) const;

  std::unique_ptr<Source> source_;
  FileKind kind_;
  std::vector<Entry> entries_;
};

}  // namespace waterfill
