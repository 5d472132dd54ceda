// The coarse stage: blocks of a list through a query's tables, and what passes into a reservoir.
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

// Blocks of one segment of a list.
struct Range {
  std::size_t list, segment, first, last;
};

// What a scan keeps of one query.
struct Selection {
  Selection(std::size_t wanted, float threshold) : best(wanted, threshold) {}
  Reservoir best;
  std::array<std::uint16_t, kLimits> limits{};
  std::size_t list = ~std::size_t{0};  // that the limits are for
};

class Scanner {
 public:
  Scanner(const CodeStore& store, const Scoring& scoring, const CoarsePlan& plan,
          const Filter& filter)
      : store_(store), scoring_(scoring), plan_(plan), filter_(filter) {}

  // Takes at most kScanQueries queries of a batch through at most kTileBlocks blocks.
  void scan(const QueryBatch& batch, const std::size_t* queries, std::size_t n, const Range& tile,
            Selection* const* selections) const;
  // One query through a whole list.
  void scan_list(const QueryBatch& batch, std::size_t query, std::size_t list,
                 Selection& selection) const;

 private:
  void scan_run(const QueryBatch& batch, const std::size_t* queries, std::size_t n,
                const Range& run, Selection* const* selections) const;
  void offer(const Query& query, float base, const Range& tile, const std::uint16_t* sums,
             Selection& selection) const;
  template <bool kEuclidean>
  bool push(const Query& query, float base, const Range& tile, const std::uint32_t* masks,
            std::uint32_t hit, const std::uint16_t* sums, Selection& selection) const;
  void set_limits(const Query& query, float base, std::size_t list, Selection& selection) const;

  const CodeStore& store_;
  const Scoring& scoring_;
  const CoarsePlan& plan_;
  const Filter& filter_;
};

}  // namespace waterfill
