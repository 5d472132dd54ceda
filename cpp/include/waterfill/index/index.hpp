// Codes with ids, searched in two stages or three. Safe to search from several threads; a change
// waits for running searches and is seen whole or not at all.
//
// Vectors stand in lists, one for each cell of the codec. A search looks at all of them, but for
// those that cannot matter, or at the few that are nearest to a query (an inverted file).
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

inline constexpr std::size_t kMaxVectors = 0xffffffff;  // positions have 32 bits

struct SearchParams {
  std::size_t k = 1;
  std::size_t candidates = 1;   // vectors that go from the coarse to the full score
  std::size_t scan_groups = 0;  // groups that the coarse score reads; 0: all
  float reach = std::numeric_limits<float>::infinity();  // see Depth
  std::size_t nprobe = 0;                                // lists that a query looks at; 0: all
  const std::int64_t* probes = nullptr;  // which: nprobe a query, -1 for none; null: the nearest
  const Selector* selector = nullptr;    // null: all ids
  std::size_t exact = 0;                 // of the best by full score, scored by exact rows; 0: none

  // Vectors that the coarse stage keeps, if there are as many.
  std::size_t wanted() const { return std::max({candidates, k, exact}); }
};

struct RangeResult {
  std::vector<std::size_t> limits;  // where the results of each query start, and the end
  std::vector<float> distances;
  std::vector<std::int64_t> ids;  // of a query in order of arrival
};

struct CoarsePlan;
class Filter;
class Scoring;
struct IndexView;

class Index {
 public:
  Index(std::shared_ptr<const Codec> codec, Metric metric);
  ~Index();

  const std::shared_ptr<const Codec>& codec() const { return codec_; }
  Metric metric() const { return metric_; }
  Alpha alpha() const;
  // Whether a second byte a vector is kept, which the coarse stage needs for L2: |u_cell|^2, or
  // with cells what OffsetScale says.
  bool keeps_extra() const { return metric_ == Metric::l2; }
  // Memory of the stored vectors, ids and exact rows.
  std::size_t bytes() const;
  std::size_t size() const;
  // Grows with every change of the vectors or their ids.
  std::uint64_t version() const;
  std::vector<std::size_t> list_sizes() const;

  // Keeps exact rows from now on. An index with vectors must be given as many rows; borrowed rows
  // are found by id.
  void keep_exact(ExactRows rows);
  // Appends exact rows ahead of their codes, and drops those whose codes never came.
  void append_exact(const Rows& rows, std::uint64_t first_row);
  void drop_exact();
  std::optional<RowKind> exact_kind() const;

  // codes: n rows of codec()->code_size() bytes; ids: n of them, or null for the next labels.
  void append(const std::uint8_t* codes, std::size_t n, const std::int64_t* ids = nullptr);
  // Appends all vectors of another index with the same codec and metric, whose ids grow by `shift`
  // (or are the next labels where neither index was given ids), and leaves that one empty.
  void merge(Index& other, std::int64_t shift);
  // The codes and ids of vectors [first, first + n), in order of arrival.
  void codes(std::size_t first, std::size_t n, std::uint8_t* out) const;
  void ids(std::size_t first, std::size_t n, std::int64_t* out) const;
  void exact(std::size_t first, std::size_t n, float* out) const;
  bool has_ids() const;
  void keep_ids();
  // The last label of each id, or -1.
  void find(const std::int64_t* ids, std::size_t n, std::int64_t* labels) const;
  // Removes vectors by id. Without given ids survivors move up. Returns the number removed.
  std::size_t remove(const Selector& selector);
  void reset();

  // distances, ids: queries.n * k values, best first, equal scores by label; missing ones are -1
  // with the worst possible distance.
  //
  // With c the centroid of the vector's cell (the mean where there are no cells):
  // inner product and cosine:  <q, c> + s <q', y_hat>
  // L2:                        |q - c|^2 + |s u_hat|^2 - 2 s <(q - c)', y_hat>
  void search(const Rows& queries, const SearchParams& params, float* distances,
              std::int64_t* ids) const;
  // All vectors with a full score above the radius, or a squared distance below it.
  RangeResult range_search(const Rows& queries, float radius, const SearchParams& params) const;

  // For the file format, under the lock that search takes.
  template <class Visit>
  void visit_store(Visit visit) const {
    const std::shared_lock lock(mutex_);
    visit(store_, ids_, exact_.get());
  }
  // Fills the index before it is shared.
  template <class Fill>
  void load(std::size_t n, const std::uint16_t* lists, const std::int64_t* ids, Fill fill) {
    store_.load(n, lists, fill);
    ids_.append(n, ids);
    changed();
  }

 private:
  void changed();
  void check(const Rows& queries, const SearchParams& params) const;
  IndexView view() const;
  std::shared_ptr<const CoarsePlan> coarse_plan(std::size_t groups) const;
  std::shared_ptr<const Filter> filter(const Selector* selector) const;
  void require_labels(std::size_t first, std::size_t n) const;
  void require_rows(std::size_t n, const std::int64_t* ids) const;
  void append_locked(const std::uint8_t* codes, std::size_t n, const std::int64_t* ids);
  void read_codes(std::size_t first, std::size_t n, std::uint8_t* out) const;

  std::shared_ptr<const Codec> codec_;
  Metric metric_;
  CodeStore store_;
  Ids ids_;
  std::unique_ptr<ExactRows> exact_;
  std::vector<float> centroids_;            // of the cells, from the mean
  std::unique_ptr<const Scoring> scoring_;  // for what the store holds
  std::uint64_t version_ = 0;
  // What the last calls needed, kept for the next.
  mutable std::unique_ptr<const Ids::Lookup> lookup_;
  mutable std::shared_ptr<const CoarsePlan> coarse_plan_;
  mutable std::shared_ptr<const Filter> filter_;
  mutable std::mutex kept_mutex_;
  mutable std::shared_mutex mutex_;
};

}  // namespace waterfill
