// What a search reads of an index, under the lock of the index.
#pragma once

#include <cstdint>

#include "search/scoring.hpp"
#include "waterfill/codec/codec.hpp"
#include "waterfill/index/code_store.hpp"
#include "waterfill/index/ids.hpp"
#include "waterfill/index/refine_rows.hpp"

namespace waterfill {

struct IndexView {
  const Codec& codec;
  const CodeStore& store;
  const Scoring& scoring;
  const float* centroids;  // minus the mean
  const Ids& ids;
  const RefineRows* refine_rows;  // or null
  bool cosine;                    // whether scores divide by the norm of the vector

  // The refine row of a vector: owned rows are in the order of labels, borrowed ones are found by
  // id.
  std::int64_t refine_row(std::size_t label) const {
    return refine_rows->borrowed() ? ids[label] : static_cast<std::int64_t>(label);
  }
};

}  // namespace waterfill
