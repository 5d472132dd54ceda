// Codebooks of the groups, and how coordinates are divided into groups.
#pragma once

#include <cstdint>

#include "waterfill/core/aligned_vector.hpp"
#include "waterfill/plan/bit_allocation.hpp"

namespace waterfill {

// Centroids of all groups, dimension-major: dimension j (counted over the groups in order) has the
// values books[j * 256 + c] and cells[j * 16 + h].
struct Codebooks {
  Aligned<float> books;
  Aligned<float> cells;  // mean of the training rows whose code has the high nibble h
};

struct Shape {
  std::uint32_t width;  // dimensions of the group
  GroupKind kind;
};

// A coordinate that is coded by two bytes: the second byte codes the residual of the first.
struct SecondByte {
  std::uint32_t column;        // of the residual
  std::uint32_t first_column;  // of the coordinate, which is alone in its group
};

}  // namespace waterfill
