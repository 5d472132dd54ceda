// The container of every waterfill file: a header, a table of named sections, and the sections.
// FORMAT.md specifies it byte by byte.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "waterfill/file/byte_io.hpp"

namespace waterfill {

enum class FileKind : std::uint32_t {
  codec = 1,
  flat_index = 2,
  ivf_index = 3,
  segment = 4,
  folder_manifest = 5,
  tombstones = 6,
  graph_index = 7
};

struct TableEntry;  // of the section table, see src/file/header.hpp

using Emit = std::function<void(const void* data, std::size_t size)>;

// A section to write. `write` passes its bytes to Emit, in any number of pieces.
struct Section {
  std::string tag;  // at most 8 characters
  std::function<void(const Emit&)> write;
  bool optional = false;  // readers that do not know the tag may skip the section
};

// Writes a file atomically: a temporary file in the same folder is written, synced and renamed.
// Throws std::system_error.
void write_file(FileHandle file, const std::string& path, FileKind kind,
                const std::vector<Section>& sections);
// size: a guess, so that memory does not grow by doubling.
std::string to_bytes(FileKind kind, const std::vector<Section>& sections, std::size_t size = 0);

// Reads one section from front to back. finish() compares the checksum.
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
  std::uint32_t expected_crc_, crc_ = 0;
};

// A container with a valid header and section table. All errors are FormatError.
class Container {
 public:
  Container(std::unique_ptr<Source> source, const std::vector<FileKind>& expected_kinds);

  FileKind kind() const { return kind_; }
  // A reader of a section, which must exist and have `size` bytes.
  SectionReader section(const std::string& tag, std::uint64_t size) const;
  // The same section where it lies, of a container in memory; `verify`: compare its checksum.
  const std::uint8_t* in_place(const std::string& tag, std::uint64_t size, bool verify) const;
  std::uint64_t section_size(const std::string& tag) const;
  bool has(const std::string& tag) const;
  // Throws unless `section` was called for each known section: a section that the file does not
  // need is not checked by anything.
  void require_all_read() const;

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
    mutable bool read = false;
  };
  void add(const std::string& tag, const TableEntry& entry, std::uint16_t minor);
  const Entry& find(const std::string& tag) const;

  std::unique_ptr<Source> source_;
  FileKind kind_;
  std::set<std::string> tags_;  // of all sections
  std::vector<Entry> entries_;  // those that this release knows
};

}  // namespace waterfill
