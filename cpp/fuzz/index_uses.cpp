#include "index_uses.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>

#include "core/random.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kNeighbors = 3;

void check_distances(const Index& index, const std::vector<float>& distances) {
  for (const float distance : distances) {
    if (std::isnan(distance)) fail("a distance is NaN");
    if (index.metric() == Metric::l2 && distance < 0) fail("a squared distance is negative");
  }
}

}  // namespace

void fail(const char* what) {
  std::fprintf(stderr, "fuzz: %s\n", what);
  std::abort();
}

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

InputFile::InputFile(const std::uint8_t* data, std::size_t size) : fd_(::memfd_create("input", 0)) {
  if (fd_ < 0 || ::write(fd_, data, size) != static_cast<ssize_t>(size)) fail("no input file");
}

std::vector<std::uint8_t> InputFile::bytes() const {
  std::vector<std::uint8_t> all(static_cast<std::size_t>(::lseek(fd_, 0, SEEK_END)));
  if (::pread(fd_, all.data(), all.size(), 0) != static_cast<ssize_t>(all.size())) {
    fail("no output file");
  }
  return all;
}

InputFile::~InputFile() {
  ::close(fd_);
}

}  // namespace waterfill
