// Scores from a query's tables and a vector's bytes. Higher scores are better for all metrics.
//
//   product:   list_term + s t
//   euclidean: list_term + 2 s t - w offset
//
// t is a sum of table entries. list_term depends on the query and the vector's cell (0 if there are
// no cells). offset is the squared distance of the decoded vector from its coding center (rho^2 in
// the coarse score), plus with cells the term of OffsetScale.
//
// Queries are scaled by a power of two, w, before their tables are computed, so that no product
// overflows. The scaling changes no order and, except for denormal numbers, no bit.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "kernels.hpp"
#include "search/coarse_tables.hpp"
#include "search/reservoir.hpp"
#include "waterfill/codec/codec.hpp"
#include "waterfill/index/code_store.hpp"
#include "waterfill/index/index.hpp"

namespace waterfill {

class Scoring {
 public:
  // lists: what the lists of the store hold.
  Scoring(const Codec& codec, Alpha alpha, bool euclidean, const std::vector<ListRange>& lists);

  bool euclidean() const { return euclidean_; }
  bool with_cells() const { return !codec_.partition().empty(); }
  // An upper bound of the distances of vectors from their coding centers and of centroids from the
  // mean.
  float largest_rho() const { return largest_rho_; }

  // The term of a list, for a query that is scaled by w (and relative to the mean for Euclidean
  // distances). product: of the query with the centroid minus the mean.
  float list_term(std::size_t list, float product, float w) const {
    return euclidean_ ? 2 * product - w * lengths_[list] * lengths_[list] : product;
  }
  bool by_direction() const { return codec_.partition().by_direction(); }
  // What lists of a partition by direction rank by: the product of the query with the direction of
  // the centroid. mean_product: of the query as for `list_term` with the mean.
  float direction_product(std::size_t list, float list_term, float mean_product, float w) const {
    const float square = lengths_[list] * lengths_[list];
    const float product = euclidean_ ? (list_term + w * square) / 2 : list_term;
    return codec_.partition().direction_product(list, product, mean_product, euclidean_ ? w : 0);
  }
  // The standard deviation of t over all vectors, for the first dimensions of a projected query.
  float deviation(const float* projected, std::size_t dimensions) const;
  // An upper bound of the scores of vectors of a list whose table sum is at most t.
  float best_of_list(std::size_t list, float list_term, float t, float w) const;
  // What lists rank by: products of the query with the centroids times a unit, and a share of a
  // value of each list. Terms that are the same for all lists are left out.
  struct ListOrder {
    const std::int16_t* products;
    const float* addends;
    float unit, share;
  };
  // t: as for `best_of_list`.
  ListOrder list_order(const Partition::Estimate& query, float t, float w) const;

  // The coarse inner product from the sum t of a vector's coarse table entries and its scale byte.
  float product(float list_term, float t, std::uint8_t scale) const {
    return list_term + (*scales_)[scale] * t;
  }
  // Fills limits[16]: a vector whose inner product reaches the threshold has an integer sum of at
  // least limits[scale / 16].
  void limits(std::size_t list, float list_term, float threshold, const CoarseUnit& unit,
              std::uint16_t* limits) const;
  // What the kernels compute the coarse scores of L2 from. There are no limits for L2: the second
  // byte would widen them so far that most vectors pass.
  CoarseTerms coarse_terms(std::size_t list, float list_term, const CoarseUnit& unit,
                           float w) const;

  // The tables of coarse scores, and per list what they depend on.
  ScoreTables tables() const;

  // A query of full scores. tables: codec.groups() * 256 values, or null to compute the entries of
  // the candidates alone, which gives the same scores to the bit.
  struct FullQuery {
    const float *projected, *tables, *list_terms;
    float w;
  };
  // Replaces scores by full scores. Candidates ascend by slot.
  void full(const CodeStore& store, const FullQuery& query, Candidates& candidates) const;

 private:
  double least_offset(const ListRange& list, std::size_t number) const;

  const Codec& codec_;
  const LogScale* scales_;
  Alpha alpha_;
  bool euclidean_;
  SideTable z_, rho_, factor_;  // of the scale byte; rho / z and s / z of that of |u_cell|^2
  std::array<float, 256> inverse_z_;
  float mean_factor_ = 1;  // s / z, with cells
  float largest_rho_ = 0;
  std::vector<float> variances_;         // of decoded coordinates
  std::vector<ByteRange> scale_ranges_;  // of lists
  std::vector<float> lengths_;           // |centroid - mean|
  std::vector<float> squared_lengths_;
  // Per list: the best score is at most list_term + gain t - w least_offset.
  std::vector<float> gains_;
  std::vector<double> least_offsets_;
};

}  // namespace waterfill
