// The coarse stage: which planes of high nibbles a scan reads, and a query's tables in bytes.
#pragma once

#include <cstdint>
#include <vector>

#include "waterfill/codec/codec.hpp"

namespace waterfill {

// Pairs of groups by what they add to a score, most first.
std::vector<std::uint32_t> pairs_by_contribution(const Codec& codec);

// The pairs of groups that a scan reads, those that contribute most. Where rounding a wide
// pair's tables to bytes would be felt, the pair stands in the list several times, each time with a
// table of its own: their entries add up, so steps become as many times finer although an entry
// stays a byte. One step for all keeps sums plain sums, and plans of very unequal groups (the
// classic one) keep their precision.
struct CoarsePlan {
  // groups: planes to read, at least 1 and at most codec.groups().
  CoarsePlan(const Codec& codec, std::size_t groups);

  std::size_t groups;
  std::vector<std::uint32_t> pairs;   // a multiple of kPairStep
  std::vector<std::uint32_t> copy;    // of its pair: 0, 1, ...
  std::vector<std::uint32_t> copies;  // how many its pair has
  std::size_t lut_bytes() const { return pairs.size() * 32; }
};

// What a sum of table entries stands for: base + step * sum.
struct CoarseUnit {
  float base = 0, step = 0;
};

// cells: codec.groups() * 16 values of one query; luts: plan.lut_bytes() bytes.
CoarseUnit quantize_tables(const CoarsePlan& plan, const float* cells, std::size_t groups,
                           std::uint8_t* luts);

}  // namespace waterfill
