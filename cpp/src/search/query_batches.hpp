// The queries of a call, a batch after the other.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "index/index_view.hpp"
#include "search/query_batch.hpp"
#include "waterfill/core/row_validation.hpp"
#include "waterfill/index/index.hpp"

namespace waterfill {

// Calls visit(rows, batch, number of the first query) for batches of `size` queries. with_full: as
// for QueryBatch.
template <class Visit>
void each_query_batch(const IndexView& view, const CoarsePlan& plan, const Rows& queries,
                      const SearchParams& params, std::size_t size, bool with_full, Visit visit) {
  for (std::size_t first = 0; first < queries.n; first += size) {
    const std::size_t n = std::min(size, queries.n - first);
    const std::vector<float> copy = finite_copy({queries.row(first), n, queries.d}, "x", first);
    const Rows rows{copy.data(), n, queries.d};
    const std::int64_t* probes =
        params.probes != nullptr ? params.probes + first * params.nprobe : nullptr;
    QueryBatch batch(view.codec, view.scoring, plan, view.centroids, rows, {probes, params.nprobe},
                     with_full);
    visit(rows, batch, first);
  }
}

}  // namespace waterfill
