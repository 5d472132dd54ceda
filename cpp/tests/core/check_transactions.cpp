// Changes of an index as transactions: whichever memory allocation fails, the index is unchanged,
// and what is repeated gives what it gives without failures. Calls that change nothing change
// nothing.
#include <functional>
#include <utility>
#include <vector>

#include "core/random.hpp"
#include "core_check.hpp"
#include "failing_allocations.hpp"
#include "waterfill/core/thread_pool.hpp"
#include "waterfill/file/index_file.hpp"
#include "waterfill/index/index.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kDims = 4, kLists = 3;

// A codec with one centroid grid per dimension, and cells around three points.
std::shared_ptr<const Codec> make_codec(bool with_cells) {
  CodecParams params;
  params.mean.assign(kDims, 0.0f);
  params.basis.assign(kDims * kDims, 0.0f);
  for (std::size_t j = 0; j < kDims; ++j) params.basis[j * kDims + j] = 1;
  params.weights.assign(kDims, 1.0f);
  params.shapes.assign(kDims, {1, GroupKind::vector});
  for (std::size_t j = 0; j < kDims; ++j) {
    for (int c = 0; c < 256; ++c) {
      params.codebooks.books.push_back((static_cast<float>(c) - 127.5f) / 128);
    }
    for (int h = 0; h < 16; ++h) {
      params.codebooks.cells.push_back((static_cast<float>(h) - 7.5f) / 8);
    }
  }
  params.scale = params.cell_length = LogScale::covering(0.1, 4, 2);
  if (with_cells) {
    const std::vector<float> centroids{1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 1};
    params.partition = Partition(centroids, params.mean);
    params.offset = OffsetScale(1, 1, 1);
  }
  return std::make_shared<const Codec>(std::move(params));
}

struct Batch {
  std::vector<float> x;
  std::vector<std::uint8_t> codes;
  std::vector<std::int64_t> ids;

  Rows rows() const { return {x.data(), ids.size(), kDims}; }
};

Batch make_batch(const Codec& codec, std::size_t n, Random& random) {
  Batch batch;
  for (std::size_t i = 0; i < n * kDims; ++i) {
    batch.x.push_back(static_cast<float>(2 * random.uniform() - 1));
  }
  for (std::size_t i = 0; i < n; ++i) {
    batch.ids.push_back(static_cast<std::int64_t>(random.next() % 1000));
  }
  batch.codes.resize(n * codec.code_size());
  codec.encode(batch.rows(), batch.codes.data());
  return batch;
}

RefineRows refine_rows(const Batch& batch) {
  RefineRows rows(RowKind::float16, kDims);
  rows.append(batch.rows());
  return rows;
}

// A kind of index: what differs in the code that changes it.
struct Kind {
  Metric metric;
  bool with_cells, with_ids, with_rows;
};

constexpr std::size_t kVectors = 100;

// An index with `n` vectors; ids, if it has any, start at `first_id` and ascend.
std::unique_ptr<Index> make_index(const Kind& kind, const std::shared_ptr<const Codec>& codec,
                                  std::size_t n, std::uint64_t seed, std::int64_t first_id = 0) {
  Random random(seed);
  auto index = std::make_unique<Index>(codec, kind.metric);
  if (kind.with_rows) index->keep_refine_rows(RefineRows(RowKind::float16, kDims));
  Batch batch = make_batch(*codec, n, random);
  for (std::size_t i = 0; i < n; ++i) batch.ids[i] = first_id + 7 * static_cast<std::int64_t>(i);
  RefineRows rows = refine_rows(batch);
  index->append(batch.codes.data(), n, kind.with_ids ? batch.ids.data() : nullptr,
                kind.with_rows ? &rows : nullptr);
  return index;
}

// All that a caller can see: contents, and results of all kinds of calls.
struct State {
  std::string contents;
  std::size_t size;
  bool has_ids;
  std::vector<float> distances, range_distances, rows;
  std::vector<std::int64_t> ids, filtered, range_ids, labels;
  std::vector<std::uint8_t> codes;

  bool operator==(const State&) const = default;
};

void search(const Index& index, const Batch& queries, State& state) {
  SearchParams params;
  params.k = params.candidates = 5;
  params.prune_sigma = 2;
  const bool refined = index.refine_row_kind().has_value();
  if (refined) params.refine_candidates = 5;
  const std::size_t n = queries.ids.size() * params.k;
  state.distances.resize(n);
  state.ids.resize(n);
  state.filtered.resize(n);
  state.codes.assign(n * index.codec()->code_size(), 0);
  state.rows.assign(refined ? n * kDims : 0, 0);
  index.search(queries.rows(), params, state.distances.data(), state.ids.data(),
               {state.codes.data(), refined ? state.rows.data() : nullptr});
  Selector selector;
  selector.range(3, 1000);
  params.selector = &selector;
  std::vector<float> distances(n);
  index.search(queries.rows(), params, distances.data(), state.filtered.data());
  const RangeResult found = index.range_search(queries.rows(), 0.5f, params);
  state.range_distances = found.distances;
  state.range_ids = found.ids;
  state.labels.resize(n);
  index.find(state.ids.data(), n, state.labels.data());
}

State state_of(const Index& index, const Batch& queries) {
  State state;
  state.contents = index_to_bytes(index, {});
  state.size = index.size();
  state.has_ids = index.has_ids();
  search(index, queries, state);
  return state;
}

// A change of an index, and whether it leaves the index as it was.
struct Change {
  const char* name;
  std::function<void(Index&)> make;
  bool changes = true;
};

long check_change(const Kind& kind, const std::shared_ptr<const Codec>& codec,
                  const Change& change) {
  Random random(9);
  const Batch queries = make_batch(*codec, 4, random);
  const auto index = make_index(kind, codec, kVectors, 7),
             same = make_index(kind, codec, kVectors, 7);
  const State before = state_of(*index, queries);
  const std::uint64_t version = index->version();
  const std::string name = change.name;
  const long failures = fail_each_allocation(
      [&] { change.make(*index); },
      [&] {
        expect(index->version() == version, (name + ": a failure is visible").c_str());
        expect(state_of(*index, queries) == before, (name + ": a failure changes it").c_str());
      });
  change.make(*same);
  const State after = state_of(*index, queries);
  expect(after == state_of(*same, queries), (name + ": failures leave traces").c_str());
  expect((index->version() > version) == change.changes, (name + ": the version is wrong").c_str());
  // What it computes for itself agrees with what a reader computes from its bytes.
  const StoredIndex read = index_from_bytes(after.contents.data(), after.contents.size());
  expect(state_of(*read.index, queries) == after, (name + ": its bytes are another index").c_str());
  return failures;
}

Selector every_third() {
  Selector selector;
  std::vector<std::int64_t> ids;
  for (std::int64_t id = 0; id < 7 * static_cast<std::int64_t>(kVectors); id += 3)
    ids.push_back(id);
  selector.set(std::move(ids));
  return selector;
}

long check_appends(const Kind& kind, const std::shared_ptr<const Codec>& codec) {
  long failures = 0;
  for (const std::size_t n : {1, 150}) {
    for (const bool with_ids : {false, true}) {
      for (const bool replacing : {false, true}) {
        Random random(8);
        const Batch batch = make_batch(*codec, n, random);
        const Selector replaced = every_third();
        const auto append = [&](Index& index) {
          RefineRows rows = refine_rows(batch);
          index.append(batch.codes.data(), n, with_ids ? batch.ids.data() : nullptr,
                       kind.with_rows ? &rows : nullptr, replacing ? &replaced : nullptr);
        };
        failures += check_change(kind, codec, {replacing ? "replace" : "append", append});
      }
    }
  }
  return failures;
}

// A merge changes two indexes, or none.
long check_merge(const Kind& kind, const std::shared_ptr<const Codec>& codec) {
  Random random(9);
  const Batch queries = make_batch(*codec, 4, random);
  const auto other = make_index(kind, codec, 150, 11, 100000);
  const State other_before = state_of(*other, queries);
  const auto index = make_index(kind, codec, kVectors, 7);
  const State before = state_of(*index, queries);
  const long failures = fail_each_allocation(
      [&] { index->merge(*other, 0); },
      [&] {
        expect(state_of(*index, queries) == before, "merge: a failure changes the index");
        expect(state_of(*other, queries) == other_before, "merge: a failure changes the other");
      });
  const auto same = make_index(kind, codec, kVectors, 7);
  const auto same_other = make_index(kind, codec, 150, 11, 100000);
  same->merge(*same_other, 0);
  expect(state_of(*index, queries) == state_of(*same, queries), "merge: failures leave traces");
  expect(other->size() == 0 && state_of(*other, queries) == state_of(*same_other, queries),
         "merge: the other index is not empty");
  return failures;
}

long check_others(const Kind& kind, const std::shared_ptr<const Codec>& codec) {
  const Selector third = every_third();
  Random random(9);
  const Batch queries = make_batch(*codec, 4, random);
  const std::string bytes = index_to_bytes(*make_index(kind, codec, kVectors, 7), {});
  const Change changes[] = {
      {"remove", [&](Index& index) { index.remove(third); }},
      {"remove all",
       [&](Index& index) {
         Selector all;
         all.all();
         index.remove(all);
       }},
      {"reset", [&](Index& index) { index.reset(); }},
      {"keep_ids", [&](Index& index) { index.keep_ids(); }},
      {"search",
       [&](Index& index) {
         State state;
         search(index, queries, state);
       },
       false},
      {"write", [&](Index& index) { index_to_bytes(index, {}); }, false},
      {"read", [&](Index&) { index_from_bytes(bytes.data(), bytes.size()); }, false},
  };
  long failures = 0;
  for (const Change& change : changes) failures += check_change(kind, codec, change);
  return failures;
}

void check_rejected() {
  Random random(8);
  const std::shared_ptr<const Codec> codec = make_codec(true);
  Index index(codec, Metric::l2);
  Batch batch = make_batch(*codec, 10, random);
  RefineRows rows = refine_rows(batch);
  expect_throw<InvalidArgument>([&] { index.append(batch.codes.data(), 10, nullptr, &rows); },
                                "refine rows that the index does not keep");
  index.keep_refine_rows(RefineRows(RowKind::float16, kDims));
  expect_throw<InvalidArgument>([&] { index.append(batch.codes.data(), 10); },
                                "an append without refine rows");
  expect_throw<InvalidArgument>([&] { index.append(batch.codes.data(), 9, nullptr, &rows); },
                                "refine rows of another number");
  batch.codes[9 * codec->code_size() + codec->groups() + 1] = kLists;  // no such cell
  expect_throw<InvalidArgument>([&] { index.append(batch.codes.data(), 10, nullptr, &rows); },
                                "a code with an unknown cell");
  expect(index.size() == 0, "append: a rejected batch is kept");
}

}  // namespace

void check_transactions() {
  const std::size_t threads = num_threads();
  long failures = 0;
  for (const Metric metric : {Metric::inner_product, Metric::l2}) {
    for (const bool with_cells : {false, true}) {
      const std::shared_ptr<const Codec> codec = make_codec(with_cells);
      for (const bool with_ids : {false, true}) {
        for (const bool with_rows : {false, true}) {
          const Kind kind{metric, with_cells, with_ids, with_rows};
          set_num_threads(1);  // so that allocations are counted in a fixed order
          failures += check_appends(kind, codec) + check_merge(kind, codec);
          failures += check_others(kind, codec);
          set_num_threads(2);  // and where pool threads work for a call that fails
          failures += check_others(kind, codec);
        }
      }
    }
  }
  check_rejected();
  set_num_threads(threads);
  std::printf("transactions: nothing changed by %ld failed allocations\n", failures);
}

}  // namespace waterfill
