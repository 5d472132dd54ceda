#include "waterfill/types.hpp"

#include <cmath>
#include <cstring>

namespace waterfill {
namespace {

// An all-ones exponent is what NaN and the infinities share; integers keep this loop vectorisable.
bool row_is_finite(const float* row, std::size_t d) {
  constexpr std::uint32_t kExponent = 0x7f800000u;
  std::uint32_t found = 0;
  for (std::size_t k = 0; k < d; ++k) {
    std::uint32_t bits;
    std::memcpy(&bits, row + k, sizeof bits);
    found |= static_cast<std::uint32_t>((bits & kExponent) == kExponent);
  }
  return found == 0;
}

}  // namespace

std::size_t first_nonfinite_row(const Rows& rows) {
  for (std::size_t i = 0; i < rows.n; ++i) {
    if (!row_is_finite(rows.row(i), rows.d)) return i;
  }
  return rows.n;
}

void require_finite(const Rows& rows, const char* argument, std::uint64_t first_row) {
  const std::size_t bad = first_nonfinite_row(rows);
  if (bad == rows.n) return;
  throw InvalidArgument(std::string(argument) + ": row " + std::to_string(first_row + bad) +
                        " has a NaN or an infinity in float32; every value must be finite");
}

void normalize_rows(float* data, std::size_t n, std::size_t d) {
  for (std::size_t i = 0; i < n; ++i) {
    float* row = data + i * d;
    double squares = 0;
    for (std::size_t k = 0; k < d; ++k) squares += static_cast<double>(row[k]) * row[k];
    if (squares == 0) continue;
    const double inverse = 1 / std::sqrt(squares);  // beyond float32 for the shortest rows
    for (std::size_t k = 0; k < d; ++k) row[k] = static_cast<float>(row[k] * inverse);
  }
}

}  // namespace waterfill
