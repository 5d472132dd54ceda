// One writer and some readers of an index at once: for ThreadSanitizer, and for what they see.
#include <atomic>
#include <thread>
#include <vector>

#include "core_check.hpp"
#include "small_index.hpp"
#include "temporary_file.hpp"
#include "waterfill/core/thread_pool.hpp"
#include "waterfill/file/index_file.hpp"
#include "waterfill/file/mapped_index.hpp"
#include "waterfill/index/index.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kVectors = 400, kAdded = 60, kRounds = 150;
constexpr std::int64_t kFirstAdded = 10000;

class Scene {
 public:
  // mapped: the first vectors lie in a file, as in a folder.
  Scene(bool with_cells, bool mapped)
      : codec_(make_codec(with_cells)), index_(codec_, Metric::inner_product), mapped_(mapped) {
    index_.keep_refine_rows(RefineRows(RowKind::float16, kDims));
    Random random(3);
    first_ = make_batch(*codec_, kVectors, random);
    added_ = make_batch(*codec_, kAdded, random);
    for (std::size_t i = 0; i < kVectors; ++i) first_.ids[i] = static_cast<std::int64_t>(i);
    for (std::size_t i = 0; i < kAdded; ++i) {
      added_.ids[i] = kFirstAdded + static_cast<std::int64_t>(i);
    }
    if (mapped_) {
      Index part(codec_, Metric::inner_product);
      part.keep_refine_rows(RefineRows(RowKind::float16, kDims));
      append(part, first_, nullptr);
      write_segment(part, {}, false, file_.handle(), file_.path());
      index_.keep_ids();
      index_.attach({map_segment(file_.path(), index_, {}, true)}, {{}});
    } else {
      append(index_, first_, nullptr);
    }
  }

  // Adds a batch, replaces it, merges it again and removes it: readers see all of it or nothing.
  void write() {
    Selector added;
    added.range(kFirstAdded, kFirstAdded + kAdded);
    for (std::size_t round = 0; round < kRounds; ++round) {
      append(index_, added_, nullptr);
      append(index_, added_, &added);
      index_.remove(added);
      if (mapped_) continue;  // merges are for indexes in memory
      Index shard(codec_, Metric::inner_product);
      shard.keep_refine_rows(RefineRows(RowKind::float16, kDims));
      append(shard, added_, nullptr);
      index_.merge(shard, 0);
      index_.remove(added);
    }
    done_ = true;
  }

  void read() {
    SearchParams params;
    params.k = 2 * (kVectors + kAdded);
    params.candidates = params.refine_candidates = params.k;
    const std::size_t n = 2 * params.k;
    std::vector<float> distances(n), rows(n * kDims);
    std::vector<std::int64_t> ids(n);
    do {
      index_.search({first_.x.data(), 2, kDims}, params, distances.data(), ids.data(),
                    {nullptr, rows.data()});
      for (std::size_t q = 0; q < 2; ++q) {
        std::size_t found = 0;
        while (found < params.k && ids[q * params.k + found] >= 0) ++found;
        expect(found == kVectors || found == kVectors + kAdded, "a search saw half of a change");
      }
      std::vector<std::int64_t> labels(kVectors);
      index_.find(first_.ids.data(), kVectors, labels.data(), {nullptr, rows.data()});
      for (const std::int64_t label : labels) expect(label >= 0, "an id was missing");
      const std::string bytes = index_to_bytes(index_, {});
      const std::size_t size = index_from_bytes(bytes.data(), bytes.size()).index->size();
      expect(size == kVectors || size == kVectors + kAdded, "a file holds half of a change");
      index_.bytes();
      index_.list_sizes();
    } while (!done_);
  }

 private:
  static void append(Index& index, const Batch& batch, const Selector* replaced) {
    RefineRows rows = refine_rows(batch);
    index.append(batch.codes.data(), batch.ids.size(), batch.ids.data(), &rows, replaced);
  }

  std::shared_ptr<const Codec> codec_;
  Index index_;
  bool mapped_;
  TemporaryFile file_;
  Batch first_, added_;
  std::atomic<bool> done_{false};
};

}  // namespace

void check_concurrent_use() {
  const std::size_t threads = num_threads();
  set_num_threads(2);
  for (const int kind : {0, 1, 2, 3}) {
    Scene scene(kind % 2 != 0, kind >= 2);
    std::exception_ptr error;
    std::mutex mutex;
    std::vector<std::thread> readers;
    for (int i = 0; i < 4; ++i) {
      readers.emplace_back([&] {
        try {
          scene.read();
        } catch (...) {
          const std::lock_guard<std::mutex> lock(mutex);
          error = std::current_exception();
        }
      });
    }
    scene.write();
    for (std::thread& reader : readers) reader.join();
    if (error) std::rethrow_exception(error);
  }
  set_num_threads(threads);
  std::printf("threads: four readers beside a writer saw whole states\n");
}

}  // namespace waterfill
