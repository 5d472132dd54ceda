// An index of a graph: rows, links and ids, with a lock.
//
// Several threads may search at once. A change waits for running searches, and a search sees it
// completely or not at all.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <utility>
#include <vector>

#include "waterfill/core/fork_safe_locks.hpp"
#include "waterfill/graph/graph.hpp"
#include "waterfill/index/ids.hpp"
#include "waterfill/index/index.hpp"
#include "waterfill/index/selector.hpp"

namespace waterfill {

class GraphIndex {
 public:
  GraphIndex(GraphSpace space, Metric metric, std::size_t links);
  ~GraphIndex();

  Metric metric() const { return metric_; }
  std::size_t d() const { return d_; }
  std::size_t links() const { return links_; }
  // These never wait: during a change they return what was before.
  std::size_t size() const { return size_; }
  bool has_ids() const { return has_ids_; }
  std::uint64_t version() const { return version_; }
  std::size_t bytes_per_vector() const;
  std::size_t bytes() const;

  // All changes are transactions: on any exception the vectors are those of before.

  // Appends vectors, which are finite; ids: one each, or null for the next labels. effort: rows
  // that a search for the links of a vector keeps.
  void append(const Rows& x, const std::int64_t* ids, std::size_t effort);
  std::size_t remove(const Selector& selector);
  void keep_ids();
  // The id of the next vector without one is at least this.
  void raise_next_id(std::int64_t next);
  void reset();

  // distances, ids: queries.n * k values, best first, ties by label. Missing results have id -1
  // and the worst possible distance. effort: rows that a search keeps.
  void search(const Rows& queries, std::size_t k, std::size_t effort, const Selector* selector,
              float* distances, std::int64_t* ids) const;
  // All vectors with a score above the radius, or a squared distance below it.
  RangeResult range_search(const Rows& queries, float radius, const Selector* selector) const;

  // The last label of each id, or -1, and the vectors, unchanged without such a label.
  void find(const std::int64_t* ids, std::size_t n, std::int64_t* labels, float* vectors) const;
  // Vectors and ids [first, first + n), in the order of insertion.
  void vectors(std::size_t first, std::size_t n, float* out) const;
  void ids(std::size_t first, std::size_t n, std::int64_t* out) const;
  // The links of a vector, by label.
  std::vector<std::int64_t> links_of(std::size_t label) const;

  // For files, under the lock of a search.
  template <class Visit>
  void visit(Visit visit) const {
    const std::shared_lock lock(locks_.state);
    visit(graph_, ids_);
  }
  // Fills an index that is not shared yet. Throws InvalidArgument for invalid rows or links.
  template <class Fill>
  void load(std::size_t n, const std::int64_t* ids, Aligned<std::uint32_t> links, Fill fill) {
    graph_.own_rows().resize(n);
    fill(graph_.own_rows());
    graph_.load(std::move(links));
    ids_.append(n, ids);
    changed();
  }

 private:
  void changed() noexcept;
  const Ids::Lookup& lookup() const;
  void require_range(std::size_t first, std::size_t n) const;
  float worst() const;

  Metric metric_;
  std::size_t d_, links_;
  Graph graph_;
  Ids ids_;
  std::atomic<std::size_t> size_{0};
  std::atomic<bool> has_ids_{false};
  std::atomic<std::uint64_t> version_{0};
  mutable std::unique_ptr<Ids::Lookup> lookup_;  // of the last call that looked for ids
  mutable ForkSafeLocks locks_;
};

}  // namespace waterfill
