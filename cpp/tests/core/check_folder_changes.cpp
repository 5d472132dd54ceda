// An index of mapped parts, and the files of a folder, under a failure of each memory allocation:
// an index is unchanged, and a file is read and written as without failures.
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core_check.hpp"
#include "failing_allocations.hpp"
#include "small_index.hpp"
#include "temporary_file.hpp"
#include "waterfill/core/thread_pool.hpp"
#include "waterfill/file/index_file.hpp"
#include "waterfill/file/manifest.hpp"
#include "waterfill/file/mapped_index.hpp"
#include "waterfill/file/tombstones.hpp"
#include "waterfill/file/write_ahead_log.hpp"

namespace waterfill {
namespace {

constexpr CodecMark kMark{1, 2, 3};
constexpr std::size_t kPartVectors = 90, kOwnVectors = 30;

struct Kind {
  Metric metric;
  bool with_rows;
};

std::unique_ptr<Index> empty_index(const Kind& kind, const std::shared_ptr<const Codec>& codec) {
  auto index = std::make_unique<Index>(codec, kind.metric);
  if (kind.with_rows) index->keep_refine_rows(RefineRows(RowKind::float16, kDims));
  index->keep_ids();
  return index;
}

void append(Index& index, const Kind& kind, std::size_t n, std::uint64_t seed,
            const Selector* replaced = nullptr) {
  Random random(seed);
  const Batch batch = make_batch(*index.codec(), n, random);
  RefineRows rows = refine_rows(batch);
  index.append(batch.codes.data(), n, batch.ids.data(), kind.with_rows ? &rows : nullptr, replaced);
}

// An index of two parts, some vectors of which are removed, and own vectors.
class Composite {
 public:
  Composite(const Kind& kind, const std::shared_ptr<const Codec>& codec) : kind_(kind) {
    for (std::size_t i = 0; i < 2; ++i) {
      const auto part = empty_index(kind, codec);
      append(*part, kind, kPartVectors, 20 + i);
      write_segment(*part, kMark, false, files_[i].handle(), files_[i].path());
    }
    index_ = empty_index(kind, codec);
    attach(*index_);
    append(*index_, kind, kOwnVectors, 30);
  }

  Index& index() { return *index_; }
  void attach(Index& index) const {
    const std::vector<IndexPart> parts{map_segment(files_[0].path(), index, kMark, true),
                                       map_segment(files_[1].path(), index, kMark, false)};
    index.attach(parts, {{1, 5, 89}, {}});
  }

 private:
  Kind kind_;
  TemporaryFile files_[2];
  std::unique_ptr<Index> index_;
};

// What a caller can see.
struct State {
  std::string contents;
  std::vector<float> distances, range_distances;
  std::vector<std::int64_t> ids, range_ids;
  std::vector<std::uint32_t> removed;
  bool operator==(const State&) const = default;
};

State state_of(const Index& index, const Batch& queries) {
  State state;
  state.contents = index_to_bytes(index, {});
  state.removed = index.removed_labels();
  SearchParams params;
  params.k = params.candidates = 6;
  params.prune_sigma = 2;
  if (index.refine_row_kind().has_value()) params.refine_candidates = 6;
  state.distances.resize(queries.ids.size() * params.k);
  state.ids.resize(state.distances.size());
  index.search(queries.rows(), params, state.distances.data(), state.ids.data());
  const RangeResult found = index.range_search(queries.rows(), 0.5f, params);
  state.range_distances = found.distances;
  state.range_ids = found.ids;
  return state;
}

Selector even_ids() {
  Selector selector;
  std::vector<std::int64_t> ids;
  for (std::int64_t id = 0; id < 1000; id += 2) ids.push_back(id);
  selector.set(std::move(ids));
  return selector;
}

long check_change(const Kind& kind, const std::shared_ptr<const Codec>& codec,
                  const std::string& name, const std::function<void(Index&)>& change) {
  Random random(9);
  const Batch queries = make_batch(*codec, 3, random);
  Composite failing(kind, codec), same(kind, codec);
  const State before = state_of(failing.index(), queries);
  const long failures = fail_each_allocation([&] { change(failing.index()); },
                                             [&] {
                                               expect(state_of(failing.index(), queries) == before,
                                                      name + ": a failure changes it");
                                             });
  change(same.index());
  expect(state_of(failing.index(), queries) == state_of(same.index(), queries),
         name + ": failures leave traces");
  return failures;
}

long check_changes(const Kind& kind, const std::shared_ptr<const Codec>& codec) {
  const Selector even = even_ids();
  const TemporaryFile file;
  const auto write = [&](Index& index, bool own) {
    file.empty();
    write_segment(index, kMark, own, file.handle(), file.path());
  };
  const std::pair<const char*, std::function<void(Index&)>> changes[] = {
      {"append", [&](Index& index) { append(index, kind, 40, 50); }},
      {"replace", [&](Index& index) { append(index, kind, 40, 50, &even); }},
      {"remove", [&](Index& index) { index.remove(even); }},
      {"selected_ids", [&](Index& index) { index.selected_ids(even); }},
      {"write all", [&](Index& index) { write(index, false); }},
      {"write own", [&](Index& index) { write(index, true); }},
  };
  long failures = 0;
  for (const auto& [name, change] : changes) failures += check_change(kind, codec, name, change);
  return failures;
}

// An index that could not be made of its parts is empty, and can be made again.
long check_attach(const Kind& kind, const std::shared_ptr<const Codec>& codec) {
  Random random(9);
  const Batch queries = make_batch(*codec, 3, random);
  const Composite files(kind, codec);
  auto index = empty_index(kind, codec);
  const long failures =
      fail_each_allocation([&] { files.attach(*index); },
                           [&] {
                             expect(index->size() == 0, "attach: a failure leaves vectors");
                             index = empty_index(kind, codec);
                           });
  const auto same = empty_index(kind, codec);
  files.attach(*same);
  expect(state_of(*index, queries) == state_of(*same, queries), "attach: failures leave traces");
  return failures;
}

// Files that are written and read in one step.
long check_small_files() {
  FolderManifest manifest;
  manifest.d = kDims;
  manifest.number = 1;
  manifest.log = 2;
  manifest.next_file = 9;
  manifest.codecs = {{3, {}}};
  for (const std::uint64_t number : {4, 5}) {
    ManifestSegment segment{};
    segment.number = number;
    segment.vectors = 10;
    segment.bytes = 4096;
    segment.codec = 3;
    manifest.segments.push_back(segment);
  }
  const Tombstones tombstones{.segment = 4, .vectors = 10, .labels = {1, 7}};
  const auto unchanged = [] {};
  long failures = fail_each_allocation(
      [&] {
        const std::string bytes = manifest_to_bytes(manifest);
        expect(manifest_from_bytes(bytes.data(), bytes.size()) == manifest, "another manifest");
      },
      unchanged);
  failures += fail_each_allocation(
      [&] {
        const std::string bytes = tombstones_to_bytes(tombstones);
        expect(tombstones_from_bytes(bytes.data(), bytes.size()).labels == tombstones.labels,
               "other tombstones");
      },
      unchanged);
  const std::int64_t ids[] = {3, 5};
  const LogRecord record{.kind = LogKind::remove, .sequence = 1, .n = 2, .ids = ids};
  failures += fail_each_allocation(
      [&] {
        const std::string log =
            log_header({.number = 2, .code_size = 7}) + log_record(record, 7, 0);
        LogReader reader(log.data(), log.size());
        const std::optional<LogRecord> read = reader.next();
        expect(read.has_value() && read->n == 2 && !reader.next().has_value(), "another log");
      },
      unchanged);
  return failures;
}

}  // namespace

void check_folder_changes() {
  const std::size_t threads = num_threads();
  long failures = check_small_files();
  for (const bool with_cells : {false, true}) {
    const std::shared_ptr<const Codec> codec = make_codec(with_cells);
    for (const Metric metric : {Metric::inner_product, Metric::l2}) {
      const Kind kind{metric, with_cells == (metric == Metric::l2)};
      set_num_threads(1);  // so that allocations are counted in a fixed order
      failures += check_changes(kind, codec) + check_attach(kind, codec);
      set_num_threads(2);
      failures += check_changes(kind, codec);
    }
  }
  set_num_threads(threads);
  std::printf("folder changes: nothing changed by %ld failed allocations\n", failures);
}

}  // namespace waterfill
