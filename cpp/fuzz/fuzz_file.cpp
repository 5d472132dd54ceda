// Fuzz target: reads a codec or an index from bytes and uses it in every way that reads its
// numbers. An index is also mapped, with and without verification.
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
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "core/random.hpp"
#include "waterfill/core/thread_pool.hpp"
#include "waterfill/file/codec_file.hpp"
#include "waterfill/file/container.hpp"
#include "waterfill/file/index_file.hpp"
#include "waterfill/file/mapped_index.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kRows = 5, kNeighbors = 3;

void fail(const char* what) {
  std::fprintf(stderr, "fuzz_file: %s\n", what);
  std::abort();
}

// Vectors near the mean, of zeros, of the largest and of the smallest numbers.
std::vector<float> vectors_for(const Codec& codec) {
  constexpr float kSizes[kRows] = {1, 1, 0, std::numeric_limits<float>::max(), 1e-44f};
  Random random(codec.d());
  std::vector<float> values;
  for (const float size : kSizes) {
    for (const float mean : codec.params().mean) {
      const auto noise = static_cast<float>(2 * random.uniform() - 1);
      values.push_back(size == 1 ? mean + noise : noise * size);
    }
  }
  for (float& value : values) value = std::isfinite(value) ? value : 0.0f;
  return values;
}

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

void check_distances(const Index& index, const std::vector<float>& distances) {
  for (const float distance : distances) {
    if (std::isnan(distance)) fail("a distance is NaN");
    if (index.metric() == Metric::l2 && distance < 0) fail("a squared distance is negative");
  }
}

void search(const Index& index, const IndexSettings& settings, const Rows& queries) {
  for (const bool deep : {false, true}) {
    SearchParams params;
    params.k = kNeighbors;
    params.candidates = deep ? 4 * kNeighbors : kNeighbors;
    params.prune_sigma = deep ? params.prune_sigma : 1.0f;
    params.coarse_groups = deep ? 0 : 1;
    params.nprobe = deep ? 0 : settings.nprobe;
    params.refine_candidates = deep && index.refine_row_kind() ? 2 * kNeighbors : 0;
    std::vector<float> distances(queries.n * kNeighbors);
    std::vector<std::int64_t> ids(distances.size());
    index.search(queries, params, distances.data(), ids.data());
    check_distances(index, distances);
    for (const float radius : {0.5f, std::numeric_limits<float>::infinity()}) {
      check_distances(index, index.range_search(queries, radius, params).distances);
    }
  }
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

// The input as a file in memory.
class InputFile {
 public:
  InputFile(const std::uint8_t* data, std::size_t size) : fd_(::memfd_create("input", 0)) {
    if (fd_ < 0 || ::write(fd_, data, size) != static_cast<ssize_t>(size)) fail("no input file");
  }
  ~InputFile() { ::close(fd_); }
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;
  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

 private:
  int fd_;
};

// Reads everything of an index whose vectors may be damaged: answers may be wrong.
void use_mapped(const StoredIndex& stored) {
  const Index& index = *stored.index;
  const std::vector<float> values = vectors_for(*index.codec());
  const std::size_t n = index.size(), d = index.codec()->d();
  search(index, stored.settings, {values.data(), kRows, d});
  std::vector<std::int64_t> ids(n), labels(n);
  std::vector<std::uint8_t> codes(n * index.codec()->code_size());
  std::vector<float> rows(index.refine_row_kind() ? n * d : 0);
  index.ids(0, n, ids.data());
  index.codes(0, n, codes.data());
  index.find(ids.data(), n, labels.data(), {codes.data(), nullptr});
  if (!rows.empty()) index.refine_rows(0, n, rows.data());
  Selector some;
  some.range(3, 40);
  SearchParams params;
  params.k = kNeighbors;
  params.selector = &some;
  std::vector<float> distances(kRows * kNeighbors);
  index.search({values.data(), kRows, d}, params, distances.data(),
               std::vector<std::int64_t>(distances.size()).data());
  static_cast<void>(index_to_bytes(index, stored.settings));
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

void use_file(const std::uint8_t* data, std::size_t size) {
  const InputFile file(data, size);
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
    } else {
      use_file(data, size);
    }
  } catch (const FormatError&) {
    return 0;  // refused, as it must be
  }
  return 0;
}
