// An index: codes with ids and optional refine rows, searched in two or three stages.
//
// Several threads may search at once. A change waits for running searches, and a search sees it
// completely or not at all.
//
// Vectors are kept in lists, one per cell of the codec. A search scans all lists except those that
// cannot contribute, or only the nprobe lists nearest to the query (an inverted file).
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <vector>

#include "waterfill/codec/codec.hpp"
#include "waterfill/index/code_store.hpp"
#include "waterfill/index/ids.hpp"
#include "waterfill/index/refine_rows.hpp"
#include "waterfill/index/selector.hpp"

namespace waterfill {

inline constexpr std::size_t kMaxVectors = 0xffffffff;  // labels and slots have 32 bits

struct SearchParams {
  std::size_t k = 1;
  std::size_t candidates = 1;     // vectors that get the full score after the coarse stage
  std::size_t coarse_groups = 0;  // groups that the coarse score reads; 0: all
  float prune_sigma = std::numeric_limits<float>::infinity();  // see Depth
  std::size_t nprobe = 0;                                      // lists per query; 0: all
  // The lists: nprobe per query, -1 for none; null for the nearest ones.
  const std::int64_t* probes = nullptr;
  const Selector* selector = nullptr;  // null: all ids
  // The best by full score that get exact scores from refine rows; 0: none.
  std::size_t refine_candidates = 0;

  // Vectors that the coarse stage must keep, if there are as many.
  std::size_t coarse_candidates() const { return std::max({candidates, k, refine_candidates}); }
};

struct RangeResult {
  std::vector<std::size_t> limits;  // the results of query q are [limits[q], limits[q + 1])
  std::vector<float> distances;
  std::vector<std::int64_t> ids;  // per query in the order of insertion
};

struct CoarsePlan;
class IdFilter;
class Scoring;
struct IndexView;

class Index {
 public:
  Index(std::shared_ptr<const Codec> codec, Metric metric);
  ~Index();

  const std::shared_ptr<const Codec>& codec() const { return codec_; }
  Metric metric() const { return metric_; }
  Alpha alpha() const;
  // Whether there is a second byte per vector, which the coarse stage needs for L2: |u_cell|^2, or
  // with cells the offset of OffsetScale.
  bool keeps_extra() const { return metric_ == Metric::l2; }
  // Memory of the stored vectors, ids and refine rows.
  std::size_t bytes() const;
  std::size_t size() const;
  // Increases with every change of the vectors or their ids.
  std::uint64_t version() const;
  std::vector<std::size_t> list_sizes() const;

  // Keeps refine rows from now on. There must be as many rows as vectors; borrowed rows are found
  // by id instead, and each id must have one.
  void keep_refine_rows(RefineRows rows);
  std::optional<RowKind> refine_row_kind() const;

  // Appends vectors in one transaction: on any exception the index is unchanged.
  //
  // codes: n rows of codec()->code_size() bytes. ids: n of them, or null for the next labels.
  // rows: n refine rows, which are moved into the index, if it owns its refine rows; else null.
  void append(const std::uint8_t* codes, std::size_t n, const std::int64_t* ids = nullptr,
              RefineRows* rows = nullptr);
  // Appends all vectors of another index with the same codec and metric, and empties it. `add_id`
  // is added to its ids; if neither index has explicit ids, its vectors get the next labels.
  void merge(Index& other, std::int64_t add_id);
  // The ids that `merge` gives to the vectors of another index, by label.
  std::vector<std::int64_t> merged_ids(const Index& other, std::int64_t add_id) const;
  // Codes, ids and refine rows of the vectors [first, first + n), in the order of insertion.
  void codes(std::size_t first, std::size_t n, std::uint8_t* out) const;
  void ids(std::size_t first, std::size_t n, std::int64_t* out) const;
  void refine_rows(std::size_t first, std::size_t n, float* out) const;
  bool has_ids() const;
  void keep_ids();
  // The last label of each id, or -1.
  void find(const std::int64_t* ids, std::size_t n, std::int64_t* labels) const;
  // Removes vectors by id and returns their number. Without explicit ids the others are renumbered.
  std::size_t remove(const Selector& selector);
  void reset();

  // distances, ids: queries.n * k values, best first, ties by label. Missing results have id -1
  // and the worst possible distance.
  //
  // With c the centroid of the vector's cell (the mean if there are no cells):
  // inner product and cosine:  <q, c> + s <q', y_hat>
  // L2:                        |q - c|^2 + |s u_hat|^2 - 2 s <(q - c)', y_hat>
  void search(const Rows& queries, const SearchParams& params, float* distances,
              std::int64_t* ids) const;
  // All vectors with a full score above the radius, or a squared distance below it.
  RangeResult range_search(const Rows& queries, float radius, const SearchParams& params) const;

  // For files: calls visit(store, ids, refine rows or null) under the lock of a search.
  template <class Visit>
  void visit_store(Visit visit) const {
    const std::shared_lock lock(mutex_);
    visit(store_, ids_, refine_rows_.get());
  }
  // Fills an index that is not shared yet.
  template <class Fill>
  void load(std::size_t n, const std::uint16_t* lists, const std::int64_t* ids, Fill fill) {
    store_.load(n, lists, fill);
    ids_.append(n, ids);
    update_derived();
  }

 private:
  // The state before an append, for undoing it.
  struct Checkpoint {
    CodeStore::Checkpoint store;
    std::size_t size;
    bool explicit_ids;
  };
  Checkpoint checkpoint() const;
  void restore(const Checkpoint& checkpoint) noexcept;
  void update_derived();
  bool owns_refine_rows() const { return refine_rows_ != nullptr && !refine_rows_->borrowed(); }
  void check(const Rows& queries, const SearchParams& params) const;
  IndexView view() const;
  std::shared_ptr<const CoarsePlan> coarse_plan(std::size_t groups) const;
  std::shared_ptr<const IdFilter> filter(const Selector* selector) const;
  std::vector<std::int64_t> ids_for(const Index& other, std::int64_t add_id) const;
  void require_labels(std::size_t first, std::size_t n) const;
  void require_borrowed_rows(std::size_t n, const std::int64_t* ids) const;
  void append_codes(const std::uint8_t* codes, std::size_t n, const std::int64_t* ids);
  void read_codes(std::size_t first, std::size_t n, std::uint8_t* out) const;

  std::shared_ptr<const Codec> codec_;
  Metric metric_;
  CodeStore store_;
  Ids ids_;
  std::unique_ptr<RefineRows> refine_rows_;
  std::vector<float> centroids_;            // of the cells, minus the mean
  std::unique_ptr<const Scoring> scoring_;  // for the current contents of the store
  std::uint64_t version_ = 0;
  // Caches of the last calls.
  mutable std::unique_ptr<const Ids::Lookup> lookup_;
  mutable std::shared_ptr<const CoarsePlan> coarse_plan_;
  mutable std::shared_ptr<const IdFilter> filter_;
  mutable std::mutex cache_mutex_;
  mutable std::shared_mutex mutex_;
};

}  // namespace waterfill
