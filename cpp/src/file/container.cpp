#include "waterfill/file/container.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <utility>

#include "file/header.hpp"
#include "waterfill/core/types.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kAlignment = 64;

[[noreturn]] void fail_section(const std::string& tag, const std::string& what) {
  throw FormatError("damaged: section " + tag + " " + what);
}

// Pads to the alignment of sections.
void pad(Sink& sink, std::uint64_t& position) {
  static constexpr std::array<char, kAlignment> kZeros{};
  const std::size_t size = (kAlignment - position % kAlignment) % kAlignment;
  sink.write(kZeros.data(), size);
  position += size;
}

// Section tags by the minor version that introduced them.
const std::vector<std::vector<std::string>>& tags_of_versions() {
  static const std::vector<std::vector<std::string>> tags{
      {"PARAMS", "SHAPES", "MEAN", "BASIS", "WEIGHTS", "BOOKS", "CELLS", "PLAN", "INDEX", "HIGH",
       "LOW", "SCALE", "EXTRA"},
      {"CELLSPEC", "CENTROID", "LISTOF", "RESTS", "JOINT", "MEASURED"},
      {"IDS", "IVF", "QUANT", "REFINE", "ROWS"},
      {"MANIFEST"},
      {"CELLRULE"},
      {"SEGMENT", "LISTS", "LABLOW", "LABBITS", "LABSAMP", "IDINFO", "IDORDER", "FOLDER", "CODECS",
       "SEGMENTS", "DEAD", "LABELS"},
      {"PROBES", "GRAPH", "STEPS", "FRONTS", "REMAINS", "LINKS", "NEXTID"},
      {"TARGET"}};
  return tags;
}

// The minor version that introduced this section, if it is known.
std::optional<std::uint16_t> version_of(const std::string& tag) {
  const auto& versions = tags_of_versions();
  for (std::size_t v = 0; v < versions.size(); ++v) {
    if (std::find(versions[v].begin(), versions[v].end(), tag) != versions[v].end()) {
      return static_cast<std::uint16_t>(v);
    }
  }
  return std::nullopt;
}

// The tag of a section: 1 to 8 printable ASCII characters, then only zeros.
std::string tag_of(const TableEntry& entry) {
  const auto end = std::find(entry.tag.begin(), entry.tag.end(), '\0');
  const bool printable =
      std::all_of(entry.tag.begin(), end, [](char c) { return c > ' ' && c <= '~'; });
  const bool padded = std::all_of(end, entry.tag.end(), [](char c) { return c == '\0'; });
  if (end == entry.tag.begin() || !printable || !padded) {
    throw FormatError("damaged: a section has a tag that is not 1 to 8 ASCII characters");
  }
  return {entry.tag.begin(), end};
}

// Checks that a section follows the bytes before `end` at the next multiple of 64, with zeros
// between them.
void check_place(const Source& source, const std::string& tag, const TableEntry& entry,
                 std::uint64_t end) {
  if (entry.offset > source.size() || entry.size > source.size() - entry.offset) {
    fail_section(tag, "exceeds the file");
  }
  if (entry.offset % kAlignment != 0) fail_section(tag, "does not start at a multiple of 64");
  if (entry.offset < end) fail_section(tag, "overlaps what precedes it");
  if (entry.offset - end >= kAlignment) fail_section(tag, "leaves a gap before it");
  std::array<char, kAlignment> padding{};
  source.read(end, padding.data(), entry.offset - end);
  if (std::any_of(padding.begin(), padding.end(), [](char c) { return c != '\0'; })) {
    fail_section(tag, "follows padding that is not zero");
  }
}

// Header and table are written with their final contents at the end.
void write_container(Sink& sink, FileKind kind, const std::vector<Section>& sections) {
  std::vector<TableEntry> table(sections.size());
  std::uint16_t minor = 0;  // the first version that has all sections
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
  header = {.magic = kMagic,
            .major = kMajor,
            .minor = minor,
            .kind = static_cast<std::uint32_t>(kind),
            .file_size = position,
            .sections = static_cast<std::uint32_t>(sections.size()),
            .table_crc = crc32c(table.data(), table.size() * sizeof(TableEntry)),
            .reserved = {},
            .header_crc = 0};
  header.header_crc = crc32c(&header, offsetof(Header, header_crc));
  sink.patch(0, &header, sizeof header);
  sink.patch(sizeof header, table.data(), table.size() * sizeof(TableEntry));
}

}  // namespace

void write_file(FileHandle file, const std::string& path, FileKind kind,
                const std::vector<Section>& sections) {
  FileSink sink(file, path);
  write_container(sink, kind, sections);
}

std::string to_bytes(FileKind kind, const std::vector<Section>& sections, std::size_t size) {
  StringSink sink;
  sink.bytes.reserve(size);
  write_container(sink, kind, sections);
  return std::move(sink.bytes);
}

SectionReader::SectionReader(const Source& source, std::string tag, std::uint64_t offset,
                             std::uint64_t size, std::uint32_t crc)
    : source_(source), tag_(std::move(tag)), offset_(offset), left_(size), expected_crc_(crc) {}

void SectionReader::read(void* out, std::size_t size) {
  if (size > left_) fail_section(tag_, "ends early");
  source_.read(offset_, out, size);
  crc_ = crc32c(out, size, crc_);
  offset_ += size;
  left_ -= size;
}

void SectionReader::finish() const {
  if (left_ != 0) fail_section(tag_, "is longer than its contents");
  if (crc_ != expected_crc_) {
    throw FormatError("damaged: the checksum of section " + tag_ + " does not match");
  }
}

Container::Container(std::unique_ptr<Source> source, const std::vector<FileKind>& expected_kinds)
    : source_(std::move(source)) {
  const Header header = read_header(*source_, expected_kinds);
  kind_ = static_cast<FileKind>(header.kind);
  std::vector<TableEntry> table(header.sections);
  const std::size_t table_size = table.size() * sizeof(TableEntry);
  source_->read(sizeof header, table.data(), table_size);
  if (crc32c(table.data(), table_size) != header.table_crc) {
    throw FormatError("damaged: the checksum of the section table does not match");
  }
  std::uint64_t end = sizeof header + table_size;
  for (const TableEntry& entry : table) {
    const std::string tag = tag_of(entry);
    check_place(*source_, tag, entry, end);
    end = entry.offset + entry.size;
    add(tag, entry, header.minor);
  }
  if (end != source_->size()) throw FormatError("damaged: bytes follow the last section");
}

// Adds a section, unless this release does not know it and may skip it.
void Container::add(const std::string& tag, const TableEntry& entry, std::uint16_t minor) {
  if (!tags_.insert(tag).second) fail_section(tag, "occurs twice");
  const std::optional<std::uint16_t> version = version_of(tag);
  const bool skipped = !version.has_value() && (entry.flags & kOptional) != 0;
  if (!version.has_value() && !skipped) {
    throw FormatError("section " + tag + " is not known to this release and cannot be skipped");
  }
  // A later minor version may define more flags for the sections that it adds.
  if ((entry.flags & ~kOptional) != 0 && !(skipped && minor > kMinor)) {
    fail_section(tag, "has an unknown flag");
  }
  if (skipped) return;
  if (*version > minor) {
    fail_section(tag, "belongs to format 1." + std::to_string(*version) +
                          ", but the header says 1." + std::to_string(minor));
  }
  entries_.push_back({tag, entry.offset, entry.size, entry.crc});
}

void Container::require_all_read() const {
  for (const Entry& entry : entries_) {
    if (!entry.read) fail_section(entry.tag, "does not belong in this file");
  }
}

const Container::Entry& Container::find(const std::string& tag) const {
  for (const Entry& entry : entries_) {
    if (entry.tag == tag) return entry;
  }
  fail_section(tag, "is missing");
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
    fail_section(tag,
                 "has " + std::to_string(entry.size) + " bytes, expected " + std::to_string(size));
  }
  entry.read = true;
  return SectionReader(*source_, tag, entry.offset, entry.size, entry.crc);
}

const std::uint8_t* Container::in_place(const std::string& tag, std::uint64_t size,
                                        bool verify) const {
  static_cast<void>(section(tag, size));
  const Entry& entry = find(tag);
  const std::uint8_t* bytes = source_->in_memory() + entry.offset;
  if (verify && crc32c(bytes, entry.size) != entry.crc) {
    throw FormatError("damaged: the checksum of section " + tag + " does not match");
  }
  return bytes;
}

}  // namespace waterfill
