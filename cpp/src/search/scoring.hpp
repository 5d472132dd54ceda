// How a query's tables and a vector's bytes become a score; the higher, the better.
//
//   product:   base + s t                   t: sum of table entries
//   euclidean: base + 2 s t - w offset      offset: the decoded vector's squared distance from its
//                                           origin (rho^2 in the coarse score), and with cells
//                                           what OffsetScale adds
//
// base is what the query and the vector's cell give (0 where there are none). Queries are scaled by
// a power of two before their tables are made, so that no product overflows; w is that power. It
// changes no order and, but for the smallest numbers, no bit.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "search/coarse_tables.hpp"
#include "search/reservoir.hpp"
#include "waterfill/codec/codec.hpp"
#include "waterfill/index/code_store.hpp"

namespace waterfill {

class Scoring {
 public:
  // For the vectors that the store has now.
  Scoring(const Codec& codec, Alpha alpha, bool euclidean, const CodeStore& store);

  bool euclidean() const { return euclidean_; }
  bool with_cells() const { return !codec_.partition().empty(); }
  // At least the distance of any vector from its origin or the mean.
  float largest_rho() const { return largest_rho_; }

  // bases[0 ... codec.lists()) for a query that is scaled by w, and from the mean if distances are
  // Euclidean: from its products with the centroids from the mean.
  void bases(const float* products, float w, float* bases) const;
  float base(std::size_t list, float product, float w) const {
    return euclidean_ ? 2 * product - w * lengths_[list] * lengths_[list] : product;
  }
  // A deviation of t over all vectors, for a projected query.
  float deviation(const float* projected) const;
  // At least the score of every vector of a list whose t is at most `t`.
  float best_of_list(std::size_t list, float base, float t, float w) const;
  void best_of_lists(const float* bases, float t, float w, float* best) const;  // of all lists

  // From the sum of a vector's coarse table entries and its side bytes.
  template <bool kEuclidean>
  float coarse(std::size_t list, float base, float t, std::uint8_t scale, std::uint8_t extra,
               float w) const {
    const float z = (*scales_)[scale];
    if (!kEuclidean) return base + z * t;
    if (with_cells()) {
      return base + 2 * z * mean_factor_ * t -
             codec_.params().offset.decode(extra, z, lengths_[list], w);
    }
    const float rho = z * rho_factor_[extra];
    return 2 * z * scale_factor_[extra] * t - w * rho * rho;
  }

  // Fills limits[16]: whatever scores above the threshold has a sum of at least limits[scale / 16].
  void limits(std::size_t list, float base, float threshold, const CoarseUnit& unit, float w,
              std::uint16_t* limits) const;

  // Replaces scores by those of whole bytes. Candidates ascend by slot; bases: of the query;
  // tables: codec.groups() * 256 values.
  void full(const CodeStore& store, const float* tables, const float* bases, float w,
            Candidates& candidates) const;

 private:
  // Of a list's vectors: w offset is at least w (square z^2 + line z), s from z times factors.
  struct Bounds {
    int first = 0, last = -1;  // scale bytes
    float square = 0, line = 0;
    float least_factor = 1, largest_factor = 1;
  };
  Bounds bounds_of(const List& list, std::size_t number) const;
  double least_offset(const Bounds& bounds) const;

  const Codec& codec_;
  const LogScale* scales_;
  Alpha alpha_;
  bool euclidean_;
  // By the byte of |u_cell|^2: rho = z * rho_factor, s = z * scale_factor.
  std::array<float, 256> rho_factor_, scale_factor_;
  std::array<float, 256> inverse_z_;
  float mean_factor_ = 1;  // s from z, with cells
  float largest_rho_ = 0;
  std::vector<float> variances_;  // of decoded coordinates
  std::vector<Bounds> bounds_;
  std::vector<float> lengths_;  // of the centroids from the mean
  // Of the lists: the best score is at most base + gain t - w offset.
  std::vector<float> gains_;
  std::vector<double> least_offsets_;
};

}  // namespace waterfill
