// Training of codebooks: k-means per group, then an order of the centroids whose high nibble is a
// coarse code.
#pragma once

#include <cstdint>
#include <vector>

#include "waterfill/codec/codebooks.hpp"

namespace waterfill {

// What `train_codebooks` counts of the work of training, about in proportion to its time.
inline constexpr std::uint64_t kCodebookWork = 600'000;

// y: rows of sum(width) values, the dimensions of each group side by side. The columns of
// `second_bytes` are filled in. The result depends only on the rows, the shapes and the seed.
Codebooks train_codebooks(std::vector<float>& y, const std::vector<Shape>& shapes,
                          const std::vector<SecondByte>& second_bytes, std::uint64_t seed,
                          int iterations);

// The same for coordinates that are all distributed alike: groups of one shape share a codebook.
Codebooks train_shared_codebooks(const std::vector<float>& y, const std::vector<Shape>& shapes,
                                 std::uint64_t seed, int iterations);

// Sorts 256 centroids (dimension-major, `width` rows of 256) into 16 cells of 16 neighbors:
// order[16 * cell + i] is the old number. `counts` are the training rows of each centroid.
std::vector<std::uint32_t> coarse_order(const std::vector<float>& book, std::size_t width,
                                        const std::vector<std::uint64_t>& counts);

}  // namespace waterfill
