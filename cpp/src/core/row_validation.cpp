#include "waterfill/core/row_validation.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels.hpp"
#include "waterfill/core/thread_pool.hpp"

namespace waterfill {
namespace {

using Product = RowKernels::Score;

constexpr std::size_t kTaskRows = 1024;  // rows per task

struct RowCheck {
  std::uint8_t flaws;
  double squares;
};

// Checks value by value, with squares in float64.
RowCheck check_values(const float* row, std::size_t d) {
  std::uint8_t flaws = 0;
  double squares = 0;
  for (std::size_t k = 0; k < d; ++k) {
    if (std::isnan(row[k])) flaws |= kNan;
    if (std::isinf(row[k])) flaws |= kInfinite;
    squares += static_cast<double>(row[k]) * row[k];
  }
  if (flaws != 0) return {flaws, std::numeric_limits<double>::quiet_NaN()};
  if (squares == 0) flaws = kZero;
  return {flaws, squares};
}

// A row with a NaN or an infinity has no finite sum of squares, so one product is nearly always
// enough. Sums beyond float32, or so small that squares may have underflowed, need a closer check.
RowCheck check_row(Product product, const float* row, std::size_t d) {
  constexpr float kLeast = 1e-30f;
  const float squares = product(row, row, d);
  if (squares >= kLeast && squares <= std::numeric_limits<float>::max()) return {0, squares};
  return check_values(row, d);
}

std::uint64_t mix(std::uint64_t h, std::uint64_t word) {
  h = (h ^ word) * 0x9e3779b97f4a7c15u;
  return h ^ (h >> 29);
}

}  // namespace

std::uint64_t hash_row(const float* row, std::size_t d) {
  std::uint64_t h = d;
  for (std::size_t k = 0; k + 2 <= d; k += 2) {
    std::uint64_t word;
    std::memcpy(&word, row + k, sizeof word);
    h = mix(h, word);
  }
  if (d % 2 == 1) h = mix(h, std::bit_cast<std::uint32_t>(row[d - 1]));
  return mix(mix(h, 0x2545f4914f6cdd1du), h >> 32);
}

void inspect(const Rows& rows, std::uint8_t* flaws, double* squares, std::uint64_t* hashes) {
  const Product product = kernels().rows.product.float32;
  parallel_for((rows.n + kTaskRows - 1) / kTaskRows, [&](std::size_t task) {
    for (std::size_t i = task * kTaskRows; i < std::min(rows.n, (task + 1) * kTaskRows); ++i) {
      const RowCheck found = check_row(product, rows.row(i), rows.d);
      flaws[i] = found.flaws;
      squares[i] = found.squares;
      if (hashes != nullptr) hashes[i] = hash_row(rows.row(i), rows.d);
    }
  });
}

std::size_t first_nonfinite_row(const Rows& rows) {
  const Product product = kernels().rows.product.float32;
  std::atomic<std::size_t> first{rows.n};
  parallel_for((rows.n + kTaskRows - 1) / kTaskRows, [&](std::size_t task) {
    std::size_t i = task * kTaskRows;
    const std::size_t end = std::min(rows.n, i + kTaskRows);
    if (first.load() < i) return;
    while (i < end && (check_row(product, rows.row(i), rows.d).flaws & kNonfinite) == 0) ++i;
    std::size_t known = first.load();
    while (i < end && i < known && !first.compare_exchange_weak(known, i)) {
    }
  });
  return first.load();
}

void require_finite(const Rows& rows, const char* argument, std::uint64_t first_row) {
  const std::size_t bad = first_nonfinite_row(rows);
  if (bad == rows.n) return;
  throw InvalidArgument(std::string(argument) + ": row " + std::to_string(first_row + bad) +
                        " has a NaN or an infinity in float32; every value must be finite");
}

std::vector<float> finite_copy(const Rows& rows, const char* argument, std::uint64_t first_row) {
  std::vector<float> copy(rows.data, rows.data + rows.n * rows.d);
  require_finite({copy.data(), rows.n, rows.d}, argument, first_row);
  return copy;
}

void ConstantDimensions::update(const Rows& rows, const std::uint8_t* flaws) {
  require_dimensions(rows, "x", d_);
  for (std::size_t i = 0; i < rows.n && !(has_first_row_ && constant_.empty()); ++i) {
    if ((flaws[i] & kNonfinite) != 0) continue;
    const float* row = rows.row(i);
    if (!has_first_row_) {
      has_first_row_ = true;
      first_row_.assign(row, row + d_);
      for (std::size_t k = 0; k < d_; ++k) constant_.push_back(static_cast<std::int64_t>(k));
    }
    std::erase_if(constant_, [&](std::int64_t k) {
      return row[k] != first_row_[static_cast<std::size_t>(k)];
    });
  }
}

}  // namespace waterfill
