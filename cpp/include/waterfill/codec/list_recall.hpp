// The share of a query's nearest neighbors that lie in the lists nearest to it, as calibration
// measured it for a codec with cells.
#pragma once

#include <cstdint>
#include <vector>

namespace waterfill {

struct ListRecall {
  // missed[i]: the share of the ten nearest that lie outside the 2^i nearest lists, an upper
  // estimate. Never grows with i. Empty: not measured.
  std::vector<float> missed;
  // Neighbors in a larger collection are nearer to the query: one of n times as many vectors misses
  // n^-decay times as large a share.
  float decay = 0;
};

// Entries of `missed` for a number of lists: up to the last power of two below it.
inline std::size_t list_recall_entries(std::size_t lists) {
  std::size_t entries = 0;
  while ((std::size_t{1} << entries) < lists) ++entries;
  return entries;
}

}  // namespace waterfill
