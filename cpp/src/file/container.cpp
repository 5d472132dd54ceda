#include "waterfill/file/container.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <optional>
#include <system_error>
#include <utility>

namespace waterfill {
namespace {

static_assert(std::endian::native == std::endian::little,
              "files are written as memory is laid out");

constexpr std::array<std::uint8_t, 8> kMagic{0x89, 'W', 'F', 'L', '\r', '\n', 0x1a, '\n'};
constexpr std::uint16_t kMajor = 1;
constexpr std::size_t kAlignment = 64;
constexpr std::uint32_t kMaxSections = 1024;
constexpr std::uint32_t kOptional = 1;  // flag: a reader that does not know the section may go on

struct Header {
  std::array<std::uint8_t, 8> magic;
  std::uint16_t major, minor;
  std::uint32_t kind;
  std::uint64_t file_size;
  std::uint32_t sections, table_crc;
  std::array<std::uint8_t, 28> reserved;
  std::uint32_t header_crc;  // of the 60 bytes before it
};
static_assert(sizeof(Header) == 64);

struct TableEntry {
  std::array<char, 8> tag;
  std::uint64_t offset, size;
  std::uint32_t crc, flags;
};
static_assert(sizeof(TableEntry) == 32);

[[noreturn]] void fail_io(const std::string& what, const std::string& path) {
  throw FileError(errno, what, path);
}

std::array<std::array<std::uint32_t, 256>, 8> make_crc_tables() {
  constexpr std::uint32_t kCastagnoli = 0x82f63b78u;
  std::array<std::array<std::uint32_t, 256>, 8> tables{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? kCastagnoli : 0);
    tables[0][i] = crc;
  }
  for (std::size_t t = 1; t < 8; ++t) {
    for (std::size_t i = 0; i < 256; ++i) {
      tables[t][i] = (tables[t - 1][i] >> 8) ^ tables[0][tables[t - 1][i] & 255];
    }
  }
  return tables;
}

// Where a container is written to: header and table are patched in at the end.
class Sink {
 public:
  virtual ~Sink() = default;
  virtual void write(const void* data, std::size_t size) = 0;
  virtual void patch(std::uint64_t offset, const void* data, std::size_t size) = 0;
};

class StringSink : public Sink {
 public:
  void write(const void* data, std::size_t size) override {
    bytes.append(static_cast<const char*>(data), size);
  }
  void patch(std::uint64_t offset, const void* data, std::size_t size) override {
    std::memcpy(bytes.data() + offset, data, size);
  }
  std::string bytes;
};

class FileSink : public Sink {
 public:
  explicit FileSink(std::string path) : path_(std::move(path)) {
    static std::atomic<unsigned> counter{0};
    temporary_ = path_ + ".tmp-" + std::to_string(::getpid()) + "-" + std::to_string(counter++);
    fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd_ < 0) fail_io("cannot create", temporary_);
  }
  FileSink(const FileSink&) = delete;
  FileSink& operator=(const FileSink&) = delete;

  ~FileSink() override {
    if (fd_ >= 0) ::close(fd_);
    if (!temporary_.empty()) ::unlink(temporary_.c_str());
  }

  void write(const void* data, std::size_t size) override {
    const char* next = static_cast<const char*>(data);
    while (size > 0) {
      const ssize_t done = ::write(fd_, next, size);
      if (done < 0 && errno == EINTR) continue;
      if (done < 0) fail_io("cannot write", temporary_);
      next += done;
      size -= static_cast<std::size_t>(done);
    }
  }

  void patch(std::uint64_t offset, const void* data, std::size_t size) override {
    if (::lseek(fd_, static_cast<off_t>(offset), SEEK_SET) < 0) fail_io("cannot seek", temporary_);
    write(data, size);
  }

  // The name moves only once the bytes are on disk, and the directory is synced after it.
  void commit() {
    if (::fsync(fd_) != 0) fail_io("cannot sync", temporary_);
    if (::close(std::exchange(fd_, -1)) != 0) fail_io("cannot close", temporary_);
    if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail_io("cannot rename to", path_);
    temporary_.clear();
    const std::size_t slash = path_.rfind('/');
    const std::string folder = slash == std::string::npos ? "." : path_.substr(0, slash + 1);
    const int fd = ::open(folder.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
      ::fsync(fd);
      ::close(fd);
    }
  }

 private:
  std::string path_, temporary_;
  int fd_ = -1;
};

void pad(Sink& sink, std::uint64_t& position) {
  static constexpr std::array<char, kAlignment> kZeros{};
  const std::size_t size = (kAlignment - position % kAlignment) % kAlignment;
  sink.write(kZeros.data(), size);
  position += size;
}

// Sections by the minor version that brought them.
const std::vector<std::vector<std::string>>& tags_of_versions() {
  static const std::vector<std::vector<std::string>> tags{
      {"PARAMS", "SHAPES", "MEAN", "BASIS", "WEIGHTS", "BOOKS", "CELLS", "PLAN", "INDEX", "HIGH",
       "LOW", "SCALE", "EXTRA"},
      {"CELLSPEC", "CENTROID", "LISTOF", "RESTS", "JOINT", "MEASURED"},
      {"IDS", "IVF", "QUANT", "REFINE", "ROWS"},
      {"MANIFEST"}};
  return tags;
}

// The first minor version with this section, or none.
std::optional<std::uint16_t> version_of(const std::string& tag) {
  const auto& versions = tags_of_versions();
  for (std::size_t v = 0; v < versions.size(); ++v) {
    if (std::find(versions[v].begin(), versions[v].end(), tag) != versions[v].end()) {
      return static_cast<std::uint16_t>(v);
    }
  }
  return std::nullopt;
}

void write_container(Sink& sink, FileKind kind, const std::vector<Section>& sections) {
  std::vector<TableEntry> table(sections.size());
  std::uint16_t minor = 0;  // the first version that has them all
  for (const Section& section : sections) {
    minor = std::max(minor, version_of(section.tag).value_or(std::uint16_t{0}));
  }
  Header header{};
  sink.write(&header, sizeof header);
  sink.write(table.data(), table.size() * sizeof(TableEntry));
  std::uint64_t position = sizeof header + table.size() * sizeof(TableEntry);
  for (std::size_t i = 0; i < sections.size(); ++i) {
    pad(sink, position);
    TableEntry& entry = table[i];
    std::copy(sections[i].tag.begin(), sections[i].tag.end(), entry.tag.begin());
    entry.offset = position;
    entry.flags = sections[i].optional ? kOptional : 0;
    sections[i].write([&](const void* data, std::size_t size) {
      sink.write(data, size);
      entry.crc = crc32c(data, size, entry.crc);
      entry.size += size;
    });
    position += entry.size;
  }
  header = {kMagic,
            kMajor,
            minor,
            static_cast<std::uint32_t>(kind),
            position,
            static_cast<std::uint32_t>(sections.size()),
            crc32c(table.data(), table.size() * sizeof(TableEntry)),
            {},
            0};
  header.header_crc = crc32c(&header, offsetof(Header, header_crc));
  sink.patch(0, &header, sizeof header);
  sink.patch(sizeof header, table.data(), table.size() * sizeof(TableEntry));
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
      const ssize_t done = ::pread(fd_, next, size, static_cast<off_t>(offset));
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

 private:
  const char* data_;
  std::size_t size_;
};

const char* kind_name(std::uint32_t kind) {
  switch (static_cast<FileKind>(kind)) {
    case FileKind::codec:
      return "a codec";
    case FileKind::flat_index:
      return "a flat index";
    case FileKind::ivf_index:
      return "an IVF index";
  }
  return "of an unknown kind";
}

Header read_header(const Source& source, const std::vector<FileKind>& wanted) {
  Header header;
  if (source.size() < sizeof header) {
    throw FormatError("not a waterfill file: " + std::to_string(source.size()) +
                      " bytes are fewer than a header has");
  }
  source.read(0, &header, sizeof header);
  if (header.magic != kMagic) throw FormatError("not a waterfill file: the first bytes differ");
  if (header.header_crc != crc32c(&header, offsetof(Header, header_crc))) {
    throw FormatError("damaged: the header's checksum does not match");
  }
  if (header.major != kMajor) {
    throw FormatError("format version " + std::to_string(header.major) + "." +
                      std::to_string(header.minor) + " is not known to this release, which reads " +
                      std::to_string(kMajor) + ".x");
  }
  if (header.file_size != source.size()) {
    throw FormatError("damaged: " + std::to_string(source.size()) + " bytes, the header says " +
                      std::to_string(header.file_size));
  }
  if (std::find(wanted.begin(), wanted.end(), static_cast<FileKind>(header.kind)) == wanted.end()) {
    std::string names;
    for (const FileKind kind : wanted) {
      names +=
          (names.empty() ? "" : " or ") + std::string(kind_name(static_cast<std::uint32_t>(kind)));
    }
    throw FormatError(std::string("holds ") + kind_name(header.kind) + ", expected " + names);
  }
  if (header.sections > kMaxSections ||
      sizeof header + header.sections * sizeof(TableEntry) > source.size()) {
    throw FormatError("damaged: the section table does not fit");
  }
  return header;
}

bool known(const std::string& tag) {
  return version_of(tag).has_value();
}

}  // namespace

std::uint32_t crc32c(const void* data, std::size_t size, std::uint32_t crc) {
  static const auto tables = make_crc_tables();
  const auto* bytes = static_cast<const std::uint8_t*>(data);
  crc = ~crc;
  for (; size >= 8; size -= 8, bytes += 8) {
    std::uint64_t word;
    std::memcpy(&word, bytes, sizeof word);
    word ^= crc;
    crc = 0;
    for (std::size_t i = 0; i < 8; ++i) crc ^= tables[7 - i][(word >> (8 * i)) & 255];
  }
  for (; size > 0; --size, ++bytes) crc = (crc >> 8) ^ tables[0][(crc ^ *bytes) & 255];
  return ~crc;
}

void write_file(const std::string& path, FileKind kind, const std::vector<Section>& sections) {
  FileSink sink(path);
  write_container(sink, kind, sections);
  sink.commit();
}

std::string to_bytes(FileKind kind, const std::vector<Section>& sections) {
  StringSink sink;
  write_container(sink, kind, sections);
  return std::move(sink.bytes);
}

std::unique_ptr<Source> open_file(const std::string& path) {
  return std::make_unique<FileSource>(path);
}

std::unique_ptr<Source> over_bytes(const void* data, std::size_t size) {
  return std::make_unique<MemorySource>(data, size);
}

SectionReader::SectionReader(const Source& source, std::string tag, std::uint64_t offset,
                             std::uint64_t size, std::uint32_t crc)
    : source_(source), tag_(std::move(tag)), offset_(offset), left_(size), wanted_(crc) {}

void SectionReader::read(void* out, std::size_t size) {
  if (size > left_) throw FormatError("damaged: section " + tag_ + " ends early");
  source_.read(offset_, out, size);
  crc_ = crc32c(out, size, crc_);
  offset_ += size;
  left_ -= size;
}

void SectionReader::finish() const {
  if (left_ != 0) throw FormatError("damaged: section " + tag_ + " is longer than its contents");
  if (crc_ != wanted_) throw FormatError("damaged: checksum of section " + tag_ + " differs");
}

Container::Container(std::unique_ptr<Source> source, const std::vector<FileKind>& wanted)
    : source_(std::move(source)) {
  const Header header = read_header(*source_, wanted);
  kind_ = static_cast<FileKind>(header.kind);
  std::vector<TableEntry> table(header.sections);
  const std::size_t table_size = table.size() * sizeof(TableEntry);
  source_->read(sizeof header, table.data(), table_size);
  if (crc32c(table.data(), table_size) != header.table_crc) {
    throw FormatError("damaged: the section table's checksum does not match");
  }
  for (const TableEntry& entry : table) {
    const auto end = std::find(entry.tag.begin(), entry.tag.end(), '\0');
    const std::string tag(entry.tag.begin(), end);
    if (entry.offset > source_->size() || entry.size > source_->size() - entry.offset) {
      throw FormatError("damaged: section " + tag + " lies outside the file");
    }
    if (!known(tag)) {
      if ((entry.flags & kOptional) != 0) continue;
      throw FormatError("section " + tag + " is not known to this release and cannot be skipped");
    }
    entries_.push_back({tag, entry.offset, entry.size, entry.crc});
  }
}

const Container::Entry& Container::find(const std::string& tag) const {
  for (const Entry& entry : entries_) {
    if (entry.tag == tag) return entry;
  }
  throw FormatError("damaged: section " + tag + " is missing");
}

bool Container::has(const std::string& tag) const {
  return std::any_of(entries_.begin(), entries_.end(),
                     [&](const Entry& entry) { return entry.tag == tag; });
}

std::uint64_t Container::section_size(const std::string& tag) const {
  return find(tag).size;
}

SectionReader Container::section(const std::string& tag, std::uint64_t size) const {
  const Entry& entry = find(tag);
  if (entry.size != size) {
    throw FormatError("damaged: section " + tag + " has " + std::to_string(entry.size) +
                      " bytes, expected " + std::to_string(size));
  }
  return SectionReader(*source_, tag, entry.offset, entry.size, entry.crc);
}

}  // namespace waterfill
