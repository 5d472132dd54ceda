// Training of a partition: k-means over whole vectors.
#pragma once

#include <cstdint>
#include <vector>

#include "waterfill/codec/partition.hpp"

namespace waterfill {

// The work that `train_partition` counts, about in proportion to its time.
inline constexpr std::uint64_t kPartitionWork = 1'000'000;

// Lloyd's k-means (Lloyd 1982) on a sample, with min(cells, sample.n) centroids; by direction it is
// spherical k-means (Dhillon and Modha 2001), with means that keep their length. Rows are compared
// with all of up to 4,096 centroids, or with some hundreds of more (decision 0033). The result
// depends only on the rows, the rule and the seed.
Partition train_partition(const Rows& sample, const std::vector<float>& mean, std::size_t cells,
                          AssignmentRule rule, std::uint64_t seed);

}  // namespace waterfill
