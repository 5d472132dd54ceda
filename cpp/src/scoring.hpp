// How a query's tables and a vector's bytes become a score; the higher, the better.
//
//   product:   s t              t: sum of table entries
//   euclidean: 2 s t - w rho^2
//
// Queries are scaled by a power of two before their tables are made, so that no product overflows;
// w is that power. It changes no order and, but for the smallest numbers, no bit.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "coarse.hpp"
#include "reservoir.hpp"
#include "waterfill/codec.hpp"
#include "waterfill/store.hpp"

namespace waterfill {

class Scoring {
 public:
  Scoring(const Codec& codec, Alpha alpha, bool euclidean, const CodeStore& store);

  // At least the distance of any vector from the mean.
  float largest_rho() const;

  // From the sum of a vector's coarse table entries and its side bytes.
  float coarse(float t, std::uint8_t scale, std::uint8_t extra, float w) const {
    const float z = (*scales_)[scale];
    if (!euclidean_) return z * t;
    const float rho = z * rho_factor_[extra];
    return 2 * z * scale_factor_[extra] * t - w * rho * rho;
  }

  // Fills limits[16]: whatever scores above the threshold has a sum of at least limits[scale / 16].
  void limits(float threshold, const CoarseUnit& unit, float w, std::uint16_t* limits) const;

  // Replaces scores by those of whole bytes. tables: codec.groups() * 256 values.
  void full(const CodeStore& store, const float* tables, float w, Candidates& candidates) const;

 private:
  double least_product(double threshold, double z, double w) const;

  const Codec& codec_;
  const LogScale* scales_;
  Alpha alpha_;
  bool euclidean_;
  // By the byte of |u_cell|^2: rho = z * rho_factor, s = z * scale_factor.
  std::array<float, 256> rho_factor_, scale_factor_;
  // Over the bytes that the store has.
  double least_rho_ = 1, least_scale_ = 1, largest_scale_ = 1;
};

}  // namespace waterfill
