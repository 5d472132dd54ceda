// Types that every stage shares: errors, metrics, and a non-owning view of rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace waterfill {

// An invalid argument. The message names the argument, the value, and what was expected.
struct InvalidArgument : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

// A file or byte string that does not follow FORMAT.md.
struct FormatError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// So that integer sums over the values of a row fit 32 bits.
inline constexpr std::size_t kMaxDimensions = 1u << 17;

enum class Metric : std::uint32_t { inner_product = 0, l2 = 1, cosine = 2 };

// A view of row-major float32 rows.
struct Rows {
  const float* data;
  std::size_t n;
  std::size_t d;

  const float* row(std::size_t i) const { return data + i * d; }
};

// Throws InvalidArgument unless the condition holds.
inline void require(bool holds, const std::string& message) {
  if (!holds) throw InvalidArgument(message);
}

// Throws InvalidArgument unless `rows` have `expected` dimensions.
void require_dimensions(const Rows& rows, const char* argument, std::size_t expected);

// Divides every row by its Euclidean norm, in place. Zero rows stay zero.
void normalize_rows(float* data, std::size_t n, std::size_t d);

}  // namespace waterfill
