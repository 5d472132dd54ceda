// Tables of the coarse stage: which groups a scan reads, and a query's lookup tables in bytes.
#pragma once

#include <cstdint>
#include <vector>

#include "waterfill/codec/codec.hpp"

namespace waterfill {

// Pairs of groups by their contribution to the variance of a score, largest first.
std::vector<std::uint32_t> pairs_by_contribution(const Codec& codec);

// The pairs of groups that a scan reads: those with the largest contribution.
//
// If rounding the tables of a wide pair to bytes would be noticeable, the pair is listed several
// times with a table of its own each time. The entries add up, so its steps become finer although
// an entry stays a byte. All tables share one step, so sums remain plain sums, and plans with very
// unequal groups (such as the classic one) keep their precision.
struct CoarsePlan {
  // group_count: number of groups to read, 1 ... codec.groups().
  CoarsePlan(const Codec& codec, std::size_t group_count);

  std::size_t groups;
  std::vector<std::uint32_t> pairs;   // a multiple of kPairStep
  std::vector<std::uint32_t> copy;    // which copy of its pair: 0, 1, ...
  std::vector<std::uint32_t> copies;  // the number of copies of its pair
  std::size_t lut_bytes() const { return pairs.size() * 32; }
};

// A sum of table entries stands for bias + step * sum.
struct CoarseUnit {
  float bias = 0, step = 0, inverse_step = 0;
};

// cells: codec.groups() * 16 values of one query; luts: plan.lut_bytes() bytes.
CoarseUnit quantize_tables(const CoarsePlan& plan, const float* cells, std::size_t groups,
                           std::uint8_t* luts);

}  // namespace waterfill
