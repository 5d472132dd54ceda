// Words that every stage shares: errors, metrics and the allocation-free view of rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace waterfill {

// A caller's mistake; the message names the argument, what came and what is wanted.
struct InvalidArgument : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

// A file or byte string that is not what FORMAT.md describes.
struct FormatError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

enum class Metric : std::uint32_t { inner_product = 0, l2 = 1, cosine = 2 };

// Row-major float32 rows that somebody else owns.
struct Rows {
  const float* data;
  std::size_t n;
  std::size_t d;

  const float* row(std::size_t i) const { return data + i * d; }
};

inline void require(bool holds, const std::string& message) {
  if (!holds) throw InvalidArgument(message);
}

// Divides every row by its Euclidean norm, in place; a zero row stays zero.
void normalize_rows(float* data, std::size_t n, std::size_t d);

}  // namespace waterfill
