// The coarse stage of a search: blocks of a list are scored with a query's tables, and the vectors
// that exceed the threshold enter a reservoir.
#pragma once

#include <array>
#include <cstdint>
#include <limits>

#include "kernels.hpp"
#include "search/coarse_tables.hpp"
#include "search/id_filter.hpp"
#include "search/query_batch.hpp"
#include "search/reservoir.hpp"
#include "search/scoring.hpp"
#include "waterfill/index/code_store.hpp"

namespace waterfill {

inline constexpr std::size_t kTileBlocks = 32;  // blocks that all queries of a task pass at a time

// Blocks [first, last) of one segment of a list.
struct BlockRange {
  std::size_t list, segment, first, last;
};

// The state of one query's scan.
struct ScanState {
  explicit ScanState(std::size_t capacity, float threshold = Reservoir::kLowest)
      : best(capacity, threshold) {}
  Reservoir best;
  std::array<std::uint16_t, kLimits> limits{};
  std::size_t list = ~std::size_t{0};  // to which the limits apply
};

class BlockScanner {
 public:
  BlockScanner(const CodeStore& store, const Scoring& scoring, const CoarsePlan& plan,
               const IdFilter& filter, const PartRange& share = {})
      : store_(store), scoring_(scoring), plan_(plan), filter_(filter), share_(share) {}

  // Whether a segment of a list is to be scanned.
  bool owns(std::size_t list, std::size_t segment) const {
    return store_.lies_in(share_, list, segment);
  }

  // Scans at most kTileBlocks blocks for at most kScanQueries queries of a batch.
  void scan(const QueryBatch& batch, const std::size_t* queries, std::size_t n,
            const BlockRange& tile, ScanState* const* states) const;
  // Prefetches what the scan of a range reads first: the kernel prefetches the blocks behind.
  void prefetch(const BlockRange& range) const;
  void prefetch(std::size_t list) const;
  // Scans a whole list for one query.
  void scan_list(const QueryBatch& batch, std::size_t query, std::size_t list,
                 ScanState& state) const;

 private:
  void scan_run(const QueryBatch& batch, const std::size_t* queries, std::size_t n,
                const BlockRange& run, ScanState* const* states) const;
  void offer(const Query& query, float list_term, const BlockRange& tile, const std::uint16_t* sums,
             ScanState& state) const;
  void score_products(const Query& query, float list_term, const std::uint8_t* scale,
                      std::uint32_t mask, const std::uint16_t* sums, float* scores) const;
  void set_limits(const Query& query, float list_term, std::size_t list, ScanState& state) const;

  const CodeStore& store_;
  const Scoring& scoring_;
  const CoarsePlan& plan_;
  const IdFilter& filter_;
  PartRange share_;
};

}  // namespace waterfill
