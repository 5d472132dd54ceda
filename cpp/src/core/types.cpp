#include "waterfill/core/types.hpp"

#include <cmath>

namespace waterfill {

void require_dimensions(const Rows& rows, const char* argument, std::size_t expected) {
  if (rows.d == expected) return;
  throw InvalidArgument(std::string(argument) + " has " + std::to_string(rows.d) +
                        " dimensions, expected " + std::to_string(expected));
}

void normalize_rows(float* data, std::size_t n, std::size_t d) {
  for (std::size_t i = 0; i < n; ++i) {
    float* row = data + i * d;
    double squares = 0;
    for (std::size_t k = 0; k < d; ++k) squares += static_cast<double>(row[k]) * row[k];
    if (squares == 0) continue;
    const double inverse = 1 / std::sqrt(squares);  // exceeds float32 for very short rows
    for (std::size_t k = 0; k < d; ++k) row[k] = static_cast<float>(row[k] * inverse);
  }
}

}  // namespace waterfill
