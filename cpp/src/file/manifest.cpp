#include "waterfill/file/manifest.hpp"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "file/header.hpp"
#include "file/sections.hpp"
#include "waterfill/index/index.hpp"

namespace waterfill {
namespace {

struct FolderRecord {
  std::uint32_t metric, d;
  std::uint64_t number, log, next_file;
  std::int64_t next_id;
  std::uint32_t nprobe, row_kind;  // row_kind: 0 without refine rows, else one more than RowKind
  float k_factor;
  std::uint32_t reserved;
};
static_assert(sizeof(FolderRecord) == 56);

// These are written as they lie in memory.
static_assert(sizeof(ManifestCodec) == 24 && std::is_trivially_copyable_v<ManifestCodec>);
static_assert(sizeof(ManifestSegment) == 56 && std::is_trivially_copyable_v<ManifestSegment>);

template <class Entry>
bool numbers_ascend(const std::vector<Entry>& entries) {
  std::uint64_t previous = 0;
  for (const Entry& entry : entries) {
    if (entry.number <= previous) return false;
    previous = entry.number;
  }
  return true;
}

// Segments are in the order of insertion: one that was merged from others takes their place.
bool numbers_differ(const std::vector<ManifestSegment>& segments) {
  std::vector<std::uint64_t> numbers;
  numbers.reserve(segments.size() + 1);
  numbers.push_back(0);
  for (const ManifestSegment& segment : segments) numbers.push_back(segment.number);
  std::sort(numbers.begin(), numbers.end());
  return std::adjacent_find(numbers.begin(), numbers.end()) == numbers.end();
}

// The first fault, or null. The codecs of the manifest must ascend.
const char* fault_of(const ManifestSegment& segment, const FolderManifest& manifest) {
  const auto codec = std::lower_bound(
      manifest.codecs.begin(), manifest.codecs.end(), segment.codec,
      [](const ManifestCodec& entry, std::uint64_t number) { return entry.number < number; });
  if (codec == manifest.codecs.end() || codec->number != segment.codec) {
    return "a segment has a codec that the manifest does not list";
  }
  if (segment.number >= manifest.next_file || segment.tombstones >= manifest.next_file) {
    return "a segment has a file number that is not less than next_file";
  }
  if (segment.vectors > kMaxVectors) return "a segment has more vectors than an index holds";
  if (segment.bytes < sizeof(Header)) return "a segment file is smaller than a header";
  if (segment.dead > segment.vectors) return "a segment has more tombstones than vectors";
  if ((segment.dead == 0) != (segment.tombstones == 0) ||
      (segment.tombstones == 0 && segment.tombstones_crc != 0)) {
    return "a segment has tombstones without a file, or a file without tombstones";
  }
  return nullptr;
}

const char* fault_of(const FolderManifest& manifest) {
  if (static_cast<std::uint32_t>(manifest.metric) > static_cast<std::uint32_t>(Metric::cosine)) {
    return "the metric is unknown";
  }
  if (manifest.d == 0 || manifest.d > kMaxDimensions) return "d is out of range";
  if (manifest.number == 0 || manifest.number >= manifest.next_file || manifest.log == 0 ||
      manifest.log >= manifest.next_file) {
    return "the number of the manifest or of the log is 0 or not less than next_file";
  }
  if (manifest.next_id < 0) return "next_id is negative";
  if (manifest.row_kind.has_value() && *manifest.row_kind > RowKind::int8) {
    return "the kind of the refine rows is unknown";
  }
  if (!std::isfinite(manifest.k_factor) || manifest.k_factor < 1) {
    return "k_factor is not a finite number of at least 1";
  }
  if (manifest.target_recall.has_value() && manifest.nprobe == 0) {
    return "there is a target recall without lists";
  }
  if (!is_target_recall(manifest.target_recall.value_or(1))) {
    return "the target recall is not above 0 and at most 1";
  }
  if (manifest.codecs.empty()) return "there is no codec";
  if (!numbers_ascend(manifest.codecs)) return "the numbers of the codecs do not ascend from 1";
  if (!numbers_differ(manifest.segments)) return "a segment has number 0 or that of another one";
  if (manifest.codecs.back().number >= manifest.next_file) {
    return "a codec has a number that is not less than next_file";
  }
  if (!std::is_sorted(
          manifest.segments.begin(), manifest.segments.end(),
          [](const ManifestSegment& a, const ManifestSegment& b) { return a.codec < b.codec; })) {
    return "a segment has an older codec than one before it";
  }
  for (const ManifestSegment& segment : manifest.segments) {
    if (const char* fault = fault_of(segment, manifest)) return fault;
  }
  return nullptr;
}

template <class Entry>
std::vector<Entry> entries(const Container& file, const char* tag) {
  const std::uint64_t size = file.section_size(tag);
  require_valid(size % sizeof(Entry) == 0, std::string("section ") + tag + " ends within a record");
  return file.array<Entry>(tag, size / sizeof(Entry));
}

std::optional<RowKind> row_kind_of(const FolderRecord& folder) {
  if (folder.row_kind == 0) return std::nullopt;
  return static_cast<RowKind>(folder.row_kind - 1);
}

}  // namespace

std::string manifest_to_bytes(const FolderManifest& manifest) {
  if (const char* fault = fault_of(manifest)) {
    throw InvalidArgument(std::string("manifest: ") + fault);
  }
  const FolderRecord folder{
      static_cast<std::uint32_t>(manifest.metric),
      manifest.d,
      manifest.number,
      manifest.log,
      manifest.next_file,
      manifest.next_id,
      manifest.nprobe,
      manifest.row_kind.has_value() ? static_cast<std::uint32_t>(*manifest.row_kind) + 1 : 0,
      manifest.k_factor,
      0};
  std::vector<Section> sections{record("FOLDER", folder), section("CODECS", manifest.codecs),
                                section("SEGMENTS", manifest.segments)};
  append_target_recall(manifest.target_recall, sections);
  return to_bytes(FileKind::folder_manifest, sections);
}

FolderManifest manifest_from_bytes(const void* data, std::size_t size) {
  const Container file(over_bytes(data, size), {FileKind::folder_manifest});
  const auto folder = file.array<FolderRecord>("FOLDER", 1)[0];
  require_valid(folder.reserved == 0, "a reserved byte of section FOLDER is not zero");
  FolderManifest manifest{static_cast<Metric>(folder.metric),
                          folder.d,
                          folder.number,
                          folder.log,
                          folder.next_file,
                          folder.next_id,
                          folder.nprobe,
                          read_target_recall(file),
                          row_kind_of(folder),
                          folder.k_factor,
                          entries<ManifestCodec>(file, "CODECS"),
                          entries<ManifestSegment>(file, "SEGMENTS")};
  if (const char* fault = fault_of(manifest)) {
    throw FormatError(std::string("damaged: manifest: ") + fault);
  }
  file.require_all_read();
  return manifest;
}

}  // namespace waterfill
