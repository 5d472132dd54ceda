// Training of a partition: k-means over whole vectors.
#pragma once

#include <cstdint>
#include <vector>

#include "waterfill/codec/partition.hpp"

namespace waterfill {

// Lloyd's k-means (Lloyd 1982) on a sample, with min(cells, sample.n) centroids. The result depends
// only on the rows and the seed.
Partition train_partition(const Rows& sample, const std::vector<float>& mean, std::size_t cells,
                          std::uint64_t seed);

}  // namespace waterfill
