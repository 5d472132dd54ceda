// k-means with 256 centroids, for the codebook of one group.
#pragma once

#include <cstdint>
#include <vector>

#include "waterfill/core/types.hpp"

namespace waterfill {

struct Clustering {
  std::vector<float> book;            // width rows of 256 values
  std::vector<std::uint64_t> counts;  // rows of each centroid
  std::vector<std::uint8_t> labels;   // the centroid of each row
};

Clustering kmeans(const Rows& y, std::uint64_t seed, int iterations);

}  // namespace waterfill
