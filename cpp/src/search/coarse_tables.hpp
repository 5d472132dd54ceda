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
  std::vector<std::uint32_t> pairs;  // a multiple of kPairStep
  // Per table, two for a pair: its group, and the steps of the copies before, less one half.
  std::vector<std::uint32_t> table_groups;
  std::vector<float> before;
  // The groups that are read, each once, and what fits a byte: 1 / steps of all its copies.
  std::vector<std::uint32_t> read;
  std::vector<float> inverse_steps;
  std::size_t dimensions = 0;  // of a projected query, that the tables depend on
  std::size_t lut_bytes() const { return table_groups.size() * kCells; }
};

// A sum of table entries stands for bias + step * sum.
struct CoarseUnit {
  float bias = 0, step = 0, inverse_step = 0;
};

// Groups of a codec, padded to pairs.
inline std::size_t padded_groups(const Codec& codec) {
  return (codec.groups() + 1) / 2 * 2;
}

// cells: kCells values of one query for each of padded_groups() groups, zeros for padding; luts:
// plan.lut_bytes() bytes.
CoarseUnit quantize_tables(const CoarsePlan& plan, const std::vector<float>& cells,
                           std::uint8_t* luts);

}  // namespace waterfill
