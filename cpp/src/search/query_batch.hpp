// A batch of queries with the tables that the stages of a search need.
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
  int exponent = 0;        // the query was divided by 2^exponent
  float w = 1;             // 2^-exponent, see scoring.hpp
  float deviation = 0;     // standard deviation of its products with vectors; with cells only
  float mean_product = 0;  // of `scaled` with the mean; with given lists by direction only
  CoarseUnit unit;
  Partition::Estimate lists;         // with cells only, unless the caller names the lists
  const float* projected = nullptr;  // into the eigenbasis; 0 where it is not needed
  const float* scaled = nullptr;     // the query itself
};

// The lists of a call: `count` per query, negative numbers for none. A null pointer stands for the
// nearest lists, a count of 0 for all.
struct Probes {
  const std::int64_t* lists;
  std::size_t count;
};

// A query (minus the mean for Euclidean distances) is divided by two to this power, which brings
// the largest number in its scores to at most 1, and tiny ones closer to 1.
int scale_exponent(const Codec& codec, const Scoring& scoring, const float* row);

class QueryBatch {
 public:
  // centroids: those of the codec's cells minus the mean. with_full: whether full scores will be
  // computed. They are as exact as float32, and depend on all dimensions; a scan alone needs
  // neither.
  QueryBatch(const Codec& codec, const Scoring& scoring, const CoarsePlan& plan,
             const float* centroids, const Rows& queries, const Probes& probes, bool with_full);

  std::size_t size() const { return queries_.size(); }
  const Query& operator[](std::size_t i) const { return queries_[i]; }
  const std::uint8_t* luts(std::size_t i) const { return luts_.data() + i * lut_bytes_; }
  // The term that each list adds to the scores of its vectors: undefined until one of the next
  // calls, except for lists that the caller names.
  const float* list_terms(std::size_t i) const { return list_terms_.get() + i * lists_; }
  // Sets a term to an estimate, unless the caller names the lists, whose terms are exact.
  void estimate_list_term(std::size_t i, std::size_t list) {
    const Query& query = queries_[i];
    if (query.lists.products == nullptr) return;
    const float product = codec_.partition().product(query.lists, list);
    list_terms_[i * lists_ + list] = scoring_.list_term(list, product, query.w);
  }
  // Sets a term to its exact value.
  void compute_list_term(std::size_t i, std::size_t list);

 private:
  void prepare(const CoarsePlan& plan, const Rows& rows, const Probes& probes, std::size_t first);

  const Codec& codec_;
  const Scoring& scoring_;
  const float* centroids_;
  bool with_full_;
  std::size_t lut_bytes_, lists_;
  std::vector<Query> queries_;
  std::vector<float> scaled_, projected_;  // of all queries
  Aligned<std::uint8_t> luts_;
  Aligned<std::int16_t> list_products_;
  std::unique_ptr<float[]> list_terms_;
};

}  // namespace waterfill
