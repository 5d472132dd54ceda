// Which lists a query looks at. It opens with those nearest to it, which show what a candidate must
// score, and passes by the lists whose vectors cannot.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "search/block_scan.hpp"
#include "waterfill/index/index.hpp"

namespace waterfill {

// A query's first lists: what they gave, and which lists are left.
struct Opening {
  Candidates found;
  float threshold = -std::numeric_limits<float>::infinity();
  std::vector<std::uint32_t> lists;  // ascending
};

// For every list the queries of a batch that want it.
class Wishes {
 public:
  Wishes(const std::vector<Opening>& openings, std::size_t begin, std::size_t end,
         std::size_t lists);

  struct Queries {
    const std::size_t *first, *last;
  };
  Queries of(std::size_t list) const {
    return {queries_.data() + starts_[list], queries_.data() + starts_[list + 1]};
  }

 private:
  std::vector<std::uint32_t> starts_;
  std::vector<std::size_t> queries_;
};

class Prober {
 public:
  // wanted: candidates that a search keeps.
  Prober(const CodeStore& store, const Scoring& scoring, const Scanner& scanner,
         const Filter& filter, const SearchParams& params, std::size_t wanted)
      : store_(store),
        scoring_(scoring),
        scanner_(scanner),
        filter_(filter),
        params_(params),
        wanted_(wanted) {}

  // Scans the first lists of a query of the batch, whose number in the call is `number`. Alone, so
  // that what is left does not depend on threads or on other queries.
  Opening open(QueryBatch& batch, std::size_t q, std::size_t number) const;
  // The lists that a query looks at, without scanning any.
  std::vector<std::uint32_t> lists(QueryBatch& batch, std::size_t q, std::size_t number) const;

 private:
  Candidates ranked(const QueryBatch& batch, std::size_t q, std::size_t number) const;
  std::size_t enough_of_few() const;
  bool limited() const { return params_.nprobe > 0 && params_.probes == nullptr; }

  const CodeStore& store_;
  const Scoring& scoring_;
  const Scanner& scanner_;
  const Filter& filter_;
  const SearchParams& params_;
  std::size_t wanted_;
};

}  // namespace waterfill
