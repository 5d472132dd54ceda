// The order in which a query probes the lists.
#pragma once

#include "search/query_batch.hpp"
#include "search/reservoir.hpp"
#include "search/scoring.hpp"
#include "waterfill/index/code_store.hpp"

namespace waterfill {

// The `number` nearest lists with any vectors, or all of them if there are fewer, in any order.
Candidates nearest_lists(const CodeStore& store, const Scoring& scoring, const Query& query,
                         std::size_t number);

}  // namespace waterfill
