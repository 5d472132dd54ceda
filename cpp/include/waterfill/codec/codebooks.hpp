// Codebooks: k-means a group, then a numbering whose high nibble is a coarse code.
#pragma once

#include <cstdint>
#include <vector>

#include "waterfill/core/aligned_vector.hpp"
#include "waterfill/core/types.hpp"
#include "waterfill/plan/bit_allocation.hpp"

namespace waterfill {

// What training learns about the groups, dimension-major: the values of dimension j (counted over
// the groups in order) stand at books[j * 256 + c] and cells[j * 16 + h].
struct Codebooks {
  Aligned<float> books;
  Aligned<float> cells;  // mean of the training rows whose code starts with nibble h
};

struct Shape {
  std::uint32_t width;  // dimensions of the group
  GroupKind kind;
};

// Columns of coordinates whose dimension has a byte of its own before: they hold what it leaves.
struct Rest {
  std::uint32_t column, whole;  // that of the first byte, which is the only one of its group
};

// y: rows of sum(width) values, the dimensions of each group side by side. Columns of `rests` are
// filled in. The result depends on the rows, the shapes and the seed alone, not on the number of
// threads.
Codebooks train_codebooks(std::vector<float>& y, const std::vector<Shape>& shapes,
                          const std::vector<Rest>& rests, std::uint64_t seed, int iterations);

// Order of 256 centroids (dimension-major, `width` rows of 256) in 16 cells of 16 neighbours:
// order[16 * cell + i] is the old number. `counts` are the rows of each centroid.
std::vector<std::uint32_t> coarse_order(const std::vector<float>& book, std::size_t width,
                                        const std::vector<std::uint64_t>& counts);

}  // namespace waterfill
