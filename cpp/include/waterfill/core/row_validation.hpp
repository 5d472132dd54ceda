// Checks of input rows: NaN, infinities, zero rows, norms, row hashes and constant dimensions.
//
// All input passes here once, whether it is analyzed, trained on, encoded or searched for.
#pragma once

#include <cstdint>
#include <vector>

#include "waterfill/core/types.hpp"

namespace waterfill {

// Defects of a single row, as bits that can be combined.
enum Flaw : std::uint8_t { kNan = 1, kInfinite = 2, kZero = 4 };
inline constexpr std::uint8_t kNonfinite = kNan | kInfinite;

// Inspects every row once. flaws[i] receives the defects of row i. squares[i] receives its squared
// Euclidean norm, to float32 precision over the range of float64, or NaN if the row is not finite.
// hashes[i] receives its hash, unless `hashes` is null.
void inspect(const Rows& rows, std::uint8_t* flaws, double* squares, std::uint64_t* hashes);

// Index of the first row with a NaN or an infinity, or rows.n.
std::size_t first_nonfinite_row(const Rows& rows);

// Throws InvalidArgument if a row has a NaN or an infinity. The message counts rows from
// `first_row`.
void require_finite(const Rows& rows, const char* argument, std::uint64_t first_row);

// A copy of rows that are finite; otherwise it throws as require_finite. Another thread may write
// to an array of the caller, so what is read several times is copied first, and the copy is
// checked.
std::vector<float> finite_copy(const Rows& rows, const char* argument, std::uint64_t first_row);

// A 64-bit hash of the bytes of a row.
std::uint64_t hash_row(const float* row, std::size_t d);

// Dimensions that have had the same value in all finite rows so far. Nearly all candidates drop out
// after a few rows, so the rest of a pass is cheap.
class ConstantDimensions {
 public:
  explicit ConstantDimensions(std::size_t d) : d_(d) {}

  // flaws: as from `inspect`. Rows that are not finite are skipped.
  void update(const Rows& rows, const std::uint8_t* flaws);
  const std::vector<std::int64_t>& dimensions() const { return constant_; }

 private:
  std::size_t d_;
  bool has_first_row_ = false;
  std::vector<float> first_row_;
  std::vector<std::int64_t> constant_;  // ascending
};

}  // namespace waterfill
