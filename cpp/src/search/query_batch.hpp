// Queries as the two stages of a search want them.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "search/coarse_tables.hpp"
#include "search/scoring.hpp"
#include "waterfill/codec/codec.hpp"
#include "waterfill/core/aligned_vector.hpp"

namespace waterfill {

struct Query {
  int exponent = 0;     // it was divided by 2^exponent
  float w = 1;          // 2^-exponent: see scoring.hpp
  float deviation = 0;  // of its products with the vectors of a cell; with cells only
  CoarseUnit unit;
  std::vector<float> projected;
  std::vector<float> scaled;  // itself; with cells only
};

// Lists that queries look at: so many each (0: all); those that are named, negative numbers for
// none, or null for the nearest.
struct Probes {
  const std::int64_t* lists;
  std::size_t count;
};

// Some queries and their tables.
class QueryBatch {
 public:
  // centroids: those of the codec's cells from the mean; scale factors of `scoring` decide what
  // bases are.
  QueryBatch(const Codec& codec, const Scoring& scoring, const CoarsePlan& plan,
             const float* centroids, const Rows& queries, const Probes& probes);

  std::size_t size() const { return queries_.size(); }
  const Query& operator[](std::size_t i) const { return queries_[i]; }
  const std::uint8_t* luts(std::size_t i) const { return luts_.data() + i * lut_bytes_; }
  // What each list gives to the scores of its vectors: an estimate until the list is settled, which
  // those are that a query is told to look at.
  const float* bases(std::size_t i) const { return bases_.get() + i * lists_; }
  void settle(std::size_t i, std::size_t list);

 private:
  void prepare(const CoarsePlan& plan, const Rows& rows, const Probes& probes, std::size_t first);

  const Codec& codec_;
  const Scoring& scoring_;
  const float* centroids_;
  std::size_t lut_bytes_, lists_;
  std::vector<Query> queries_;
  Aligned<std::uint8_t> luts_;
  std::unique_ptr<float[]> bases_;
};

}  // namespace waterfill
