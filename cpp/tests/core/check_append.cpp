// Index::append as a transaction: whichever memory allocation fails, the index is unchanged.
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>
#include <vector>

#include "core/random.hpp"
#include "core_check.hpp"
#include "waterfill/core/thread_pool.hpp"
#include "waterfill/file/index_file.hpp"
#include "waterfill/index/index.hpp"

namespace {

// The number of allocations until one fails; negative: none fails.
std::atomic<long> allocations_left{-1};

void* allocate(std::size_t size, std::size_t alignment) {
  if (allocations_left >= 0 && allocations_left-- == 0) throw std::bad_alloc();
  void* memory = nullptr;
  if (posix_memalign(&memory, std::max(alignment, sizeof(void*)), std::max<std::size_t>(size, 1))) {
    throw std::bad_alloc();
  }
  return memory;
}

}  // namespace

// Replacements of the global functions, for all allocations of this program.
void* operator new(std::size_t size) {
  return allocate(size, alignof(std::max_align_t));
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  try {
    return allocate(size, alignof(std::max_align_t));
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void operator delete(void* memory, const std::nothrow_t&) noexcept {
  std::free(memory);
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}

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

// The whole contents: codes, ids and refine rows of all lists.
std::string contents(const Index& index) {
  return index_to_bytes(index, {});
}

std::vector<float> distances(const Index& index, const Batch& queries) {
  SearchParams params;
  params.k = params.candidates = params.refine_candidates = 5;
  params.prune_sigma = 2;
  std::vector<float> found(queries.ids.size() * params.k);
  std::vector<std::int64_t> ids(found.size());
  index.search(queries.rows(), params, found.data(), ids.data());
  return found;
}

// Fails the first allocation, then the second, and so on, until an append succeeds.
void check_failures(Metric metric, bool with_cells, std::size_t before, std::size_t n,
                    bool with_ids) {
  Random random(7);
  const std::shared_ptr<const Codec> codec = make_codec(with_cells);
  Index index(codec, metric);
  index.keep_refine_rows(RefineRows(RowKind::float16, kDims));
  const Batch first = make_batch(*codec, before, random), second = make_batch(*codec, n, random);
  RefineRows first_rows = refine_rows(first);
  index.append(first.codes.data(), before, nullptr, &first_rows);
  const std::string old_contents = contents(index);
  const std::vector<float> old_distances = distances(index, second);
  const std::uint64_t version = index.version();
  const std::int64_t* ids = with_ids ? second.ids.data() : nullptr;
  long failures = 0;
  for (bool done = false; !done;) {
    RefineRows rows = refine_rows(second);
    allocations_left = failures;
    try {
      index.append(second.codes.data(), n, ids, &rows);
      done = true;
    } catch (const std::bad_alloc&) {
      ++failures;
    }
    allocations_left = -1;
    if (done) break;
    expect(index.version() == version && !index.has_ids(), "append: a failure is visible");
    expect(contents(index) == old_contents, "append: a failure changes the contents");
    expect(distances(index, second) == old_distances, "append: a failure changes a search");
  }
  expect(failures >= 5, "append: too few allocations have failed");
  expect(index.size() == before + n && index.version() > version, "append: vectors are missing");
  Index other(codec, metric);  // the same appends without failures
  other.keep_refine_rows(RefineRows(RowKind::float16, kDims));
  RefineRows rows = refine_rows(first);
  other.append(first.codes.data(), before, nullptr, &rows);
  rows = refine_rows(second);
  other.append(second.codes.data(), n, ids, &rows);
  expect(contents(index) == contents(other), "append: failures leave traces");
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

void check_append() {
  const std::size_t threads = num_threads();
  set_num_threads(1);  // so that allocations are counted in a fixed order
  for (const Metric metric : {Metric::inner_product, Metric::l2}) {
    for (const bool with_cells : {false, true}) {
      for (const bool with_ids : {false, true}) {
        check_failures(metric, with_cells, 0, 40, with_ids);
        check_failures(metric, with_cells, 70, 1, with_ids);
        check_failures(metric, with_cells, 50, 300, with_ids);
      }
    }
  }
  check_rejected();
  set_num_threads(threads);
  std::printf("append: unchanged by every failed allocation\n");
}

}  // namespace waterfill
