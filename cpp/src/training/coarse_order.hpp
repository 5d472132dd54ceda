// The order of a codebook's centroids, whose high nibble is a coarse code.
#pragma once

#include <cstdint>
#include <vector>

namespace waterfill {

// Sorts 256 centroids (dimension-major, `width` rows of 256) into 16 cells of 16 neighbors:
// order[16 * cell + i] is the old number. `counts` are the training rows of each centroid.
std::vector<std::uint32_t> coarse_order(const std::vector<float>& book, std::size_t width,
                                        const std::vector<std::uint64_t>& counts);

}  // namespace waterfill
