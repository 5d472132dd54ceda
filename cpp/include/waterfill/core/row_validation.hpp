// What rows are like, before anything is made of them: the one pass on every way in, whether rows
// are to be analysed, trained with, encoded or searched for.
#pragma once

#include <cstdint>
#include <vector>

#include "waterfill/core/types.hpp"

namespace waterfill {

// What can be wrong with a row by itself: bits, of which it may have several.
enum Flaw : std::uint8_t { kNan = 1, kInfinite = 2, kZero = 4 };
inline constexpr std::uint8_t kNonfinite = kNan | kInfinite;

// Looks at every row once. flaws[i] gets the bits of row i; squares[i] its squared Euclidean norm,
// to float32's precision but at any size, and NaN where the row is not finite; hashes[i], unless
// `hashes` is null, its hash.
void inspect(const Rows& rows, std::uint8_t* flaws, double* squares, std::uint64_t* hashes);

// Index of the first row with a NaN or an infinity, or rows.n.
std::size_t first_nonfinite_row(const Rows& rows);

// Throws for a row with a NaN or an infinity, numbering rows from `first_row`.
void require_finite(const Rows& rows, const char* argument, std::uint64_t first_row);

// Equal for rows with the same bytes, and hardly ever for others.
std::uint64_t hash_row(const float* row, std::size_t d);

// Dimensions that have one value in all rows seen. Almost all drop out after a few rows, so that
// the rest of a pass costs nothing.
class ConstantDimensions {
 public:
  explicit ConstantDimensions(std::size_t d) : d_(d) {}

  // flaws: as `inspect` gave them; rows that are not finite are passed by.
  void update(const Rows& rows, const std::uint8_t* flaws);
  const std::vector<std::int64_t>& dimensions() const { return left_; }

 private:
  std::size_t d_;
  bool begun_ = false;
  std::vector<float> first_;        // row
  std::vector<std::int64_t> left_;  // dimensions, rising
};

}  // namespace waterfill
