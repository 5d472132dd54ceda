// Fuzz target: reads a write-ahead log, a manifest or tombstones of a folder from bytes.
//
// Bytes that are no valid file must be refused with FormatError. What the reader accepts is written
// again and read again, with the same result; the writer of a log and of a manifest gives the same
// bytes as well. standalone_main.cpp and fuzz_file.cpp say how to run a target.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "log_mutator.hpp"
#include "waterfill/core/types.hpp"
#include "waterfill/file/container.hpp"
#include "waterfill/file/manifest.hpp"
#include "waterfill/file/tombstones.hpp"
#include "waterfill/file/write_ahead_log.hpp"

namespace waterfill {
namespace {

void fail(const char* what) {
  std::fprintf(stderr, "fuzz_folder: %s\n", what);
  std::abort();
}

// Reads the log again from the start of each record, with a reader of its own.
void use_log(const std::uint8_t* data, std::size_t size) {
  LogReader reader(data, size);
  const LogHeader header = reader.header();
  std::string again = log_header(header);
  while (true) {
    LogReader other(data, size, reader.offset(), reader.sequence());
    const std::optional<LogRecord> record = reader.next(), same = other.next();
    if (record.has_value() != same.has_value() || reader.torn() != other.torn()) {
      fail("a reader that starts at a record finds something else");
    }
    if (!record.has_value()) break;
    again += log_record(*record, header.code_size, header.row_bytes);
    if (again.size() != reader.offset()) fail("a record has another size when it is written");
  }
  if (again.size() > size || std::memcmp(again.data(), data, again.size()) != 0) {
    fail("a log changes when it is read and written");
  }
  if (reader.torn() != (again.size() < size)) fail("a torn tail is not told from the end");
  if (reader.next().has_value()) fail("a record follows the end");
}

void use_manifest(const std::uint8_t* data, std::size_t size) {
  const FolderManifest manifest = manifest_from_bytes(data, size);
  const std::string bytes = manifest_to_bytes(manifest);
  if (!(manifest_from_bytes(bytes.data(), bytes.size()) == manifest)) {
    fail("a manifest changes when it is written and read");
  }
  for (const ManifestSegment& segment : manifest.segments) {
    if (segment.dead > segment.vectors) fail("more vectors are removed than there are");
  }
}

void use_tombstones(const std::uint8_t* data, std::size_t size) {
  const Tombstones tombstones = tombstones_from_bytes(data, size);
  std::uint64_t least = 0;
  for (const std::uint32_t label : tombstones.labels) {
    if (label < least || label >= tombstones.vectors) fail("a label is impossible");
    least = std::uint64_t{label} + 1;
  }
  const std::string bytes = tombstones_to_bytes(tombstones);
  // Not more than the input has: one with the sections in another order has less padding.
  constexpr std::size_t kBeforeLabels = 192;
  const std::size_t smaller =
      std::min<std::size_t>(4 * tombstones.labels.size(), (tombstones.vectors + 7) / 8);
  if (bytes.size() != kBeforeLabels + smaller) fail("the writer does not choose the smaller form");
  if (!(tombstones_from_bytes(bytes.data(), bytes.size()) == tombstones)) {
    fail("tombstones change when they are written and read");
  }
}

}  // namespace
}  // namespace waterfill

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace waterfill;
  constexpr std::size_t kKind = 12;  // of the byte of a container's header that names the kind
  try {
    if (is_log({data, data + std::min<std::size_t>(size, 8)})) {
      use_log(data, size);
    } else if (size > kKind && data[kKind] == static_cast<std::uint8_t>(FileKind::tombstones)) {
      use_tombstones(data, size);
    } else {
      use_manifest(data, size);
    }
  } catch (const FormatError&) {
    return 0;  // refused, as it must be
  }
  return 0;
}
