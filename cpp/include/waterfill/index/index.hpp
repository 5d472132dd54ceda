// An index: codes with ids and optional refine rows, searched in two or three stages.
//
// Several threads may search at once. A change waits for running searches, and a search sees it
// completely or not at all.
//
// An index may start with parts that lie in mapped files. They never change, so vectors are then
// only marked as removed: they keep their labels, and every method passes them over.
//
// Vectors are kept in lists, one per cell of the codec. A search scans all lists except those that
// cannot contribute, or only the nprobe lists nearest to the query (an inverted file).
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <utility>
#include <vector>

#include "waterfill/codec/codec.hpp"
#include "waterfill/core/coarse_terms.hpp"
#include "waterfill/core/fork_safe_locks.hpp"
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

// Rows in memory rank all candidates of the coarse stage, without full scores, if these are at most
// this multiple of `refine_candidates`: a row takes less time than a full score.
inline constexpr std::size_t kManyRows = 16;

// Arrays for what is stored of vectors that a call found, row by row: their codes, or their refine
// rows. Null: not requested.
struct ContentArrays {
  std::uint8_t* codes = nullptr;
  float* rows = nullptr;
};

// A part of an index in memory that somebody else owns: what a mapped file holds.
struct IndexPart {
  std::shared_ptr<const void> memory;  // keeps the arrays alive
  CodePart codes;
  IdPart ids;
  const std::uint8_t* rows = nullptr;  // refine rows by label, if the index keeps any
};

// Candidates of some parts of an index, query by query, with the scores that rank them among those
// of other parts.
struct ShareCandidates {
  std::vector<std::size_t> limits{0};  // those of query q are [limits[q], limits[q + 1])
  std::vector<float> coarse;
  std::vector<std::uint32_t> slots, labels;
  std::vector<float> full, exact;  // empty if no search needs them

  // Without labels the index that merges looks up labels and exact scores.
  bool has_labels() const { return labels.size() == slots.size(); }
};

// What a device needs to scan lists for some queries.
struct ScanTables {
  std::vector<std::uint32_t> pairs;  // of groups that a scan reads, for all queries
  // By query: the tables of the scan, of two groups per pair and kCells bytes per group; bias, step
  // and w of its scores; its projection, padded to whole panels; the query as it was projected.
  std::vector<std::uint8_t> luts;
  std::vector<float> units, projected, scaled;
  // Lists of queries: those of query q are [limits[q], limits[q + 1]), with the term of their
  // coarse scores.
  struct Lists {
    std::vector<std::uint64_t> limits{0};
    std::vector<std::uint32_t> lists;
    std::vector<float> terms;

    void add(std::uint32_t list, float term) {
      lists.push_back(list);
      terms.push_back(term);
    }
    void end_query() { limits.push_back(lists.size()); }
  };
  // A query scans the nearest lists first. Then it scans another one if the threshold that it has
  // found is below the list's bound.
  Lists nearest, others;
  std::vector<float> bounds;
  std::vector<std::uint32_t> masks;  // of vectors, by block; empty: all vectors
  // For a range search: the least full score within the radius, as ordered_score; by query.
  std::vector<std::uint32_t> least;
};

// The blocks of all lists in the order of slots, as a device keeps them.
struct BlockArrays {
  // Of each block: kBlock vectors with high nibbles as a scan reads them, rows of low nibbles,
  // scale bytes and second bytes (null if the index keeps none). Padded with zeros.
  std::uint8_t *high, *low, *scale, *extra;
};
struct BlockTable {
  std::vector<std::uint32_t> lists, slots;  // of each block, and its first vector
  std::vector<std::uint8_t> sizes;          // vectors of each block
};

// What the scores of an index depend on besides the codec and the query.
struct ScoreTables {
  SideTable z, rho, factor;  // see CoarseTerms
  float gain, middle, norm_range;
  std::vector<float> lines, lengths;  // of lists with cells: see CoarseTerms; |centroid - mean|
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
  // What files with these vectors hold of their ids.
  std::size_t id_bytes() const;
  // These never wait: during a change they return what was before.
  std::size_t size() const { return size_; }
  bool has_ids() const { return has_ids_; }
  std::uint64_t version() const { return version_; }  // grows with each change of vectors or ids
  std::vector<std::size_t> list_sizes() const;

  // Keeps refine rows from now on, of an index that is not shared yet. There must be as many rows
  // as vectors; borrowed rows are found by id instead, and each id must have one.
  void keep_refine_rows(RefineRows rows);
  std::optional<RowKind> refine_row_kind() const;

  // Parts for an index that is not shared yet and has no vectors of its own, and the vectors of
  // each that are removed, by ascending labels of the part.
  void attach(const std::vector<IndexPart>& parts,
              const std::vector<std::vector<std::uint32_t>>& removed);
  // Keeps an object alive as long as the index, which is not shared yet.
  void keep_memory(std::shared_ptr<const void> memory) { memory_.push_back(std::move(memory)); }
  // From now on `remove` and `append` only mark vectors as removed.
  void mark_removals() { marks_removals_ = true; }
  // The id of the next vector without one, and a bound for it.
  std::int64_t next_id() const;
  void raise_next_id(std::int64_t next);
  // The vectors that are marked as removed, by label, and the number of those of parts.
  std::vector<std::uint32_t> removed_labels() const;
  // The ids of the vectors that a selector selects, ascending, each once.
  std::vector<std::int64_t> selected_ids(const Selector& selector) const;

  // All changes are transactions: on any exception the index is unchanged.

  // Appends vectors, and removes others in the same step: those of before that `replaced` selects.
  //
  // codes: n rows of codec()->code_size() bytes. ids: n of them, or null for the next labels.
  // rows: n refine rows, which are moved into the index, if it owns its refine rows; else null.
  void append(const std::uint8_t* codes, std::size_t n, const std::int64_t* ids = nullptr,
              RefineRows* rows = nullptr, const Selector* replaced = nullptr);
  // Appends all vectors of another index with the same codec and metric, and empties it. `add_id`
  // is added to its ids; if neither index has explicit ids, its vectors get the next labels.
  void merge(Index& other, std::int64_t add_id);
  // The ids that `merge` gives to the vectors of another index, by label.
  std::vector<std::int64_t> merged_ids(const Index& other, std::int64_t add_id) const;
  // Codes, ids and refine rows of the vectors [first, first + n), in the order of insertion and
  // without removed ones.
  void codes(std::size_t first, std::size_t n, std::uint8_t* out) const;
  void ids(std::size_t first, std::size_t n, std::int64_t* out) const;
  void refine_rows(std::size_t first, std::size_t n, float* out) const;
  void keep_ids();
  // The last label of each id, or -1; and its contents, unchanged without such a label.
  void find(const std::int64_t* ids, std::size_t n, std::int64_t* labels,
            const ContentArrays& contents = {}) const;
  // Removes vectors by id and returns their number. Without explicit ids the others are renumbered.
  std::size_t remove(const Selector& selector);
  void reset();

  // distances, ids: queries.n * k values, best first, ties by label. Missing results have id -1
  // and the worst possible distance.
  //
  // With c the centroid of the vector's cell (the mean if there are no cells):
  // inner product and cosine:  <q, c> + s <q', y_hat>
  // L2:                        |q - c|^2 + |s u_hat|^2 - 2 s <(q - c)', y_hat>
  //
  // contents: of the results, as the search saw them; unchanged where there is none.
  void search(const Rows& queries, const SearchParams& params, float* distances, std::int64_t* ids,
              const ContentArrays& contents = {}) const;
  // A search by several processes, each of which has this index and scans some of its parts. Their
  // candidates together give what `search` returns, bit by bit.
  //
  // If there are several lists, there are two rounds. The first one, without thresholds, scans the
  // lists nearest to each query. The second one scans what else may be among the best, given the
  // score of the last of the coarse candidates so far, or the lowest float if there are fewer.
  ShareCandidates search_share(const Rows& queries, const SearchParams& params,
                               const PartRange& share, const float* thresholds) const;
  // found: of all rounds and shares, query by query in any order.
  void merge_shares(const Rows& queries, const SearchParams& params, const ShareCandidates& found,
                    float* distances, std::int64_t* ids) const;
  // A search whose scans a device does. `scan_tables` returns what it needs, or nothing if all
  // vectors are candidates. The device returns its coarse candidates with full scores to
  // `merge_shares`.
  std::optional<ScanTables> scan_tables(const Rows& queries, const SearchParams& params) const;
  BlockTable block_table() const;
  // Writes blocks [first, first + n) of those of `block_table`.
  void copy_blocks(std::size_t first, std::size_t n, const BlockArrays& out) const;
  ScoreTables score_tables() const;
  const std::vector<float>& centroids() const { return centroids_; }  // minus the mean
  std::size_t parts() const;  // the vectors of `append` count as one
  // The rank of each list for each query, from 0 for the first that a search probes; the number of
  // lists for one without vectors. ranks: queries.n * codec()->lists() values.
  void rank_lists(const Rows& queries, std::uint32_t* ranks) const;
  // All vectors with a full score above the radius, or a squared distance below it.
  RangeResult range_search(const Rows& queries, float radius, const SearchParams& params) const;
  // A range search whose full scores a device computes: `range_tables` returns what it needs, with
  // the exact terms of lists and without tables of a scan, and the device returns the vectors whose
  // scores reach `least` to `merge_range`. limits: of the vectors by query. Not for indexes with
  // refine rows, whose exact scores decide.
  ScanTables range_tables(const Rows& queries, float radius, const SearchParams& params) const;
  RangeResult merge_range(const Rows& queries, const std::vector<std::size_t>& limits,
                          const std::vector<std::uint32_t>& slots,
                          const std::vector<float>& scores) const;

  // For files: calls visit(store, ids, refine rows or null) under the lock of a search.
  template <class Visit>
  void visit_store(Visit visit) const {
    const std::shared_lock lock(locks_.state);
    visit(store_, ids_, refine_rows_.get());
  }
  // Fills an index that is not shared yet.
  template <class Fill>
  void load(std::size_t n, const std::uint16_t* lists, const std::int64_t* ids, Fill fill) {
    store_.load(n, lists, fill);
    ids_.append(n, ids);
    loaded();
  }

 private:
  // The state before an append, for undoing it.
  struct Checkpoint {
    CodeStore::Checkpoint store;
    Ids::Checkpoint ids;
    std::size_t size;
  };
  // What the store keeps of vectors apart from their codes.
  struct Places {
    std::vector<std::uint16_t> lists;  // empty if there is only one
    std::vector<std::uint8_t> extra;   // second bytes, if the index keeps them
  };
  using ScoringPointer = std::unique_ptr<const Scoring>;

  Checkpoint checkpoint() const;
  void restore(const Checkpoint& checkpoint) noexcept;
  CodeStore empty_store() const;
  ScoringPointer scoring_of(const std::vector<ListRange>& lists) const;
  void changed(ScoringPointer scoring) noexcept;
  void loaded();
  void take_out(CodeStore::Removal&& removal) noexcept;
  void empty(CodeStore&& store, ScoringPointer scoring) noexcept;
  bool owns_refine_rows() const { return refine_rows_ != nullptr && !refine_rows_->borrowed(); }
  void check(const Rows& queries, const SearchParams& params) const;
  template <class Use>
  void locked_search(const Rows& queries, const SearchParams& params, Use use) const;
  template <class Use>
  void locked_range(const Rows& queries, float radius, const SearchParams& params, Use use) const;
  void replace_labels(std::int64_t* labels, std::size_t n) const;  // by ids
  IndexView view() const;
  std::shared_ptr<const CoarsePlan> coarse_plan(std::size_t groups) const;
  std::shared_ptr<const IdFilter> filter(const Selector* selector) const;
  std::vector<std::int64_t> ids_for(const Index& other, std::int64_t add_id) const;
  std::vector<std::uint32_t> labels_at(std::size_t first, std::size_t n) const;
  std::vector<std::uint32_t> selected_labels(const Selector& selector) const;
  const Ids::Lookup& lookup() const;
  template <class Change>
  std::size_t change_marked(const Selector* selector, Change change);
  void require_borrowed_rows(std::size_t n, const std::int64_t* ids) const;
  Places places_of(const std::uint8_t* codes, std::size_t n) const;
  void append_codes(const std::uint8_t* codes, std::size_t n, const std::int64_t* ids,
                    const Places& places);
  void read_codes(const std::vector<std::uint32_t>& slots, std::uint8_t* out) const;
  void read_contents(const std::int64_t* labels, std::size_t n, const ContentArrays& out) const;

  std::shared_ptr<const Codec> codec_;
  Metric metric_;
  CodeStore store_;
  Ids ids_;
  std::unique_ptr<RefineRows> refine_rows_;
  std::vector<std::shared_ptr<const void>> memory_;  // of parts
  bool marks_removals_ = false;
  std::vector<float> centroids_;  // of the cells, minus the mean
  ScoringPointer scoring_;        // for the current contents of the store
  // For callers that do not lock.
  std::atomic<std::size_t> size_{0};
  std::atomic<bool> has_ids_{false};
  std::atomic<std::uint64_t> version_{0};
  // Caches of the last calls.
  mutable std::unique_ptr<Ids::Lookup> lookup_;
  mutable std::vector<std::shared_ptr<const CoarsePlan>> coarse_plans_;
  mutable std::shared_ptr<const IdFilter> filter_;
  mutable ForkSafeLocks locks_;
};

}  // namespace waterfill
