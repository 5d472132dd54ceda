// Fuzz target: maps a segment for the codec that lies before it, with and without verification, and
// uses it as an index in a folder does: alone, and twice with removed vectors between.
//
// The input is a codec file with a segment file behind it. Bytes that are none must be refused with
// FormatError. fuzz_file.cpp says how to run a target.
#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "file/header.hpp"
#include "file/index_records.hpp"
#include "file_pair.hpp"
#include "index_uses.hpp"
#include "waterfill/core/thread_pool.hpp"
#include "waterfill/file/codec_file.hpp"
#include "waterfill/file/mapped_index.hpp"

namespace waterfill {
namespace {

// An empty index that a segment can be a part of.
StoredIndex empty_index(const std::shared_ptr<Codec>& codec, const Container& file) {
  StoredIndex stored;
  const auto metric = static_cast<Metric>(read_index_record(file).metric);
  try {
    stored.index = std::make_unique<Index>(codec, metric);
  } catch (const InvalidArgument& error) {
    throw FormatError(error.what());  // a codec that does not serve the metric
  }
  if (file.has("REFINE")) {
    const auto kind = static_cast<RowKind>(read_refine_record(file).kind);
    stored.index->keep_refine_rows(RefineRows(kind, codec->d()));
  }
  stored.index->keep_ids();
  return stored;
}

// Every third vector.
std::vector<std::uint32_t> some_labels(std::size_t n) {
  std::vector<std::uint32_t> labels;
  for (std::size_t i = 0; i < n; i += 3) labels.push_back(static_cast<std::uint32_t>(i));
  return labels;
}

std::vector<std::uint8_t> written(const Index& index, const CodecMark& mark) {
  const InputFile file(nullptr, 0);
  write_segment(index, mark, false, file.fd(), file.path());
  return file.bytes();
}

void use_segment(const std::shared_ptr<Codec>& codec, const std::uint8_t* data, std::size_t size) {
  const InputFile input(data, size);
  const Container file(over_bytes(data, size), {FileKind::segment});
  const CodecMark mark = file.array<CodecMark>("SEGMENT", 1)[0];
  for (const bool verify : {false, true}) {
    const StoredIndex once = empty_index(codec, file), twice = empty_index(codec, file);
    const IndexPart part = map_segment(input.path(), *once.index, mark, verify);
    once.index->attach({part}, {{}});
    use_mapped(once);
    twice.index->attach({part, part}, {some_labels(part.codes.size), {}});
    use_mapped(twice);
    if (!verify) continue;
    const std::vector<std::uint8_t> bytes = written(*once.index, mark);
    const InputFile again(bytes.data(), bytes.size());
    const StoredIndex other = empty_index(codec, file);
    other.index->attach({map_segment(again.path(), *other.index, mark, true)}, {{}});
    if (written(*other.index, mark) != bytes) {
      fail("a segment changes when it is written and mapped");
    }
  }
}

}  // namespace
}  // namespace waterfill

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace waterfill;
  set_num_threads(1);  // so that coverage depends on the input alone
  const std::size_t first = first_of_pair({data, data + size});
  if (first == 0) return 0;
  try {
    use_segment(codec_from_bytes(data, first), data + first, size - first);
  } catch (const FormatError&) {
    return 0;  // refused, as it must be
  }
  return 0;
}
