// Fuzz target: reads a codec or an index from bytes and uses it in every way that reads its
// numbers. An index is also mapped, all of it or its refine rows, with and without verification.
//
// Bytes that are no valid file must be refused with FormatError. Whatever the reader accepts must
// be safe to search, decode, extend and write again: sanitizers find what is undefined, and `fail`
// stops the run at a result that cannot be right. With libFuzzer,
//
//     fuzz_file CORPUS_FOLDER -max_total_time=60
//
// and with the driver of standalone_main.cpp for any compiler,
//
//     fuzz_file SECONDS FOLDER_OF_SEEDS [FOLDER_FOR_FINDINGS [SEED_OF_RANDOM_NUMBERS]]
//     fuzz_file FILE...            runs some inputs, for example a finding
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "index_uses.hpp"
#include "waterfill/core/thread_pool.hpp"
#include "waterfill/file/codec_file.hpp"
#include "waterfill/file/container.hpp"
#include "waterfill/file/graph_file.hpp"
#include "waterfill/file/index_file.hpp"
#include "waterfill/file/mapped_index.hpp"

namespace waterfill {
namespace {

std::vector<std::uint8_t> use_codec(const Codec& codec, const Rows& rows) {
  std::vector<std::uint8_t> codes(rows.n * codec.code_size());
  codec.encode(rows, codes.data());
  std::vector<float> decoded(rows.n * codec.d());
  for (const std::uint32_t quarters : {0u, 4u}) {
    codec.decode(codes.data(), rows.n, Alpha{quarters}, decoded.data());
  }
  const std::string bytes = codec_to_bytes(codec);
  if (codec_to_bytes(*codec_from_bytes(bytes.data(), bytes.size())) != bytes) {
    fail("a codec changes when it is written and read");
  }
  return codes;
}

// Appends, removes and reads vectors.
void change(Index& index, const Rows& rows, const std::vector<std::uint8_t>& codes) {
  const std::size_t n = index.size();
  try {
    if (const auto kind = index.refine_row_kind()) {
      RefineRows refine(*kind, rows.d);
      refine.append({rows.data, 2, rows.d});
      index.append(codes.data(), 2, nullptr, &refine);
    } else {
      index.append(codes.data(), rows.n);
    }
  } catch (const InvalidArgument&) {
    // With the largest id in the file none is left for a new vector, and a mean may exceed float16.
    if (!index.has_ids() && index.refine_row_kind() != RowKind::float16) throw;
  }
  Selector some;
  some.range(3, 40);
  index.remove(some);
  std::vector<std::uint8_t> own(index.size() * index.codec()->code_size());
  index.codes(0, index.size(), own.data());
  std::vector<float> decoded(index.size() * rows.d);
  index.codec()->decode(own.data(), index.size(), index.alpha(), decoded.data());
  if (index.refine_row_kind()) index.refine_rows(0, index.size(), decoded.data());
  if (index.size() > n + rows.n) fail("an index has more vectors than were added");
}

void use_index(const std::uint8_t* data, std::size_t size) {
  StoredIndex stored = index_from_bytes(data, size);
  Index& index = *stored.index;
  const std::string bytes = index_to_bytes(index, stored.settings);
  if (bytes.size() != size || std::memcmp(bytes.data(), data, size) != 0) {
    const StoredIndex again = index_from_bytes(bytes.data(), bytes.size());
    if (index_to_bytes(*again.index, again.settings) != bytes) {
      fail("an index changes when it is written and read");
    }
  }
  std::vector<float> values = vectors_for(*index.codec());
  const Rows rows{values.data(), kRows, index.codec()->d()};
  search(index, stored.settings, rows);
  change(index, rows, use_codec(*index.codec(), rows));
  search(index, stored.settings, rows);
}

void search_graph(const GraphIndex& index, const Rows& rows) {
  constexpr std::size_t kNeighbors = 3, kMostEffort = 40;
  std::vector<float> distances(rows.n * kNeighbors);
  std::vector<std::int64_t> ids(distances.size());
  Selector some;
  some.range(3, 40);
  const Selector* const selectors[] = {nullptr, &some};
  for (const Selector* selector : selectors) {
    index.search(rows, kNeighbors, kMostEffort, selector, distances.data(), ids.data());
    const auto ranges = index.range_search(rows, 0.5f, selector);
    distances.insert(distances.end(), ranges.distances.begin(), ranges.distances.end());
    for (const float distance : distances) {
      if (std::isnan(distance)) fail("a distance of a graph is NaN");
    }
    distances.resize(rows.n * kNeighbors);
  }
}

// Searches a graph, removes and appends rows, and searches what has become of it.
void use_graph(const std::uint8_t* data, std::size_t size) {
  const StoredGraph stored = graph_from_bytes(data, size);
  GraphIndex& index = *stored.index;
  const std::string bytes = graph_to_bytes(index, stored.settings);
  const StoredGraph again = graph_from_bytes(bytes.data(), bytes.size());
  if (graph_to_bytes(*again.index, again.settings) != bytes) {
    fail("a graph changes when it is written and read");
  }
  constexpr std::size_t kEffort = 20;
  const std::size_t d = index.d();
  std::vector<float> values(kRows * d);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(i * 7 % 11) - 5;  // a row of zeros comes last
    if (i >= (kRows - 1) * d) values[i] = 0;
  }
  const Rows rows{values.data(), kRows, d};
  try {
    search_graph(index, rows);
    Selector some;
    some.range(3, 40);
    index.remove(some);
    index.append(rows, nullptr, kEffort);
    search_graph(index, rows);
  } catch (const InvalidArgument&) {
    // A mean may be too far from any query, and with the largest id none is left.
  }
  std::vector<float> decoded(index.size() * d);
  index.vectors(0, index.size(), decoded.data());
  const std::string changed = graph_to_bytes(index, stored.settings);
  try {
    static_cast<void>(graph_from_bytes(changed.data(), changed.size()));
  } catch (const FormatError&) {
    fail("a graph that was changed cannot be read");
  }
}

// Whether a file can be mapped, all of it verified.
bool map_input(const std::string& path) {
  try {
    use_mapped(map_index(path, false));
  } catch (const FormatError&) {
    return false;  // then it is not valid either
  }
  try {
    map_index(path, true);
    return true;
  } catch (const FormatError&) {
    return false;
  }
}

// Reads codes into memory, and leaves refine rows in the file.
void map_rows(const std::string& path) {
  for (const bool verify : {false, true}) {
    try {
      use_mapped(read_codes_and_map_rows(path, verify));
    } catch (const FormatError&) {
      continue;
    }
  }
}

void use_file(const std::uint8_t* data, std::size_t size) {
  const InputFile file(data, size);
  map_rows(file.path());
  bool mapped = false, old = false;
  try {
    mapped = map_input(file.path());
  } catch (const InvalidArgument&) {
    old = true;  // before format 1.5
  }
  try {
    use_index(data, size);
  } catch (const FormatError&) {
    if (mapped) fail("a file that cannot be read is mapped and verified");
    throw;
  }
  if (!mapped && !old) fail("a file that can be read is not mapped and verified");
}

}  // namespace
}  // namespace waterfill

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace waterfill;
  constexpr std::size_t kKind = 12;  // of the byte of the header that names the kind
  set_num_threads(1);                // so that coverage depends on the input alone
  try {
    if (size > kKind && data[kKind] == static_cast<std::uint8_t>(FileKind::codec)) {
      const std::shared_ptr<Codec> codec = codec_from_bytes(data, size);
      const std::vector<float> values = vectors_for(*codec);
      use_codec(*codec, {values.data(), kRows, codec->d()});
    } else if (size > kKind && data[kKind] == static_cast<std::uint8_t>(FileKind::graph_index)) {
      use_graph(data, size);
    } else {
      use_file(data, size);
    }
  } catch (const FormatError&) {
    return 0;  // refused, as it must be
  }
  return 0;
}
