// Flaws and norms of rows, by every instruction set, compared with a check value by value.
#include <cmath>
#include <limits>
#include <vector>

#include "core_check.hpp"
#include "waterfill/core/row_validation.hpp"

namespace waterfill {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

struct Row {
  const char* what;
  float first, last, others;
  int flaws;
};

// The last two have squares that overflow or underflow float32.
constexpr Row kRows[] = {
    {"plain", 1, -2, 0.5f, 0},
    {"a NaN", 1, kNaN, 0.5f, kNan},
    {"an infinity", kInf, 1, 0.5f, kInfinite},
    {"two infinities", kInf, -kInf, 0, kInfinite},
    {"both", -kInf, kNaN, 0, kNan | kInfinite},
    {"zero", 0, -0.0f, 0, kZero},
    {"far", 3e38f, -3e38f, 1e30f, 0},
    {"near", 1e-40f, 0, 1e-30f, 0},
};

double squares_of(const std::vector<float>& row) {
  double sum = 0;
  for (const float value : row) sum += static_cast<double>(value) * value;
  return sum;
}

void check_row(const Row& expected, std::size_t d, const std::string& isa) {
  const std::string name = isa + ", " + expected.what + " of " + std::to_string(d);
  std::vector<float> row(
      d, expected.others);  // exact size, so that a sanitizer detects reads beyond it
  row.front() = expected.first;
  row.back() = expected.last;
  const Rows rows{row.data(), 1, d};
  std::uint8_t flaws = 0xff;
  double squares = -1;
  std::uint64_t hash = 0;
  inspect(rows, &flaws, &squares, &hash);
  expect(flaws == expected.flaws, name + ": wrong flaws");
  const bool finite = (flaws & kNonfinite) == 0;
  expect(first_nonfinite_row(rows) == (finite ? 1u : 0u), name + ": first_nonfinite_row differs");
  expect(hash == hash_row(row.data(), d), name + ": wrong hash");
  const double sum = squares_of(row);
  expect(finite ? std::abs(squares - sum) <= 1e-5 * sum : std::isnan(squares),
         name + ": wrong norm");
}

// The first of several bad rows, whichever thread finds it.
void check_first(const std::string& isa) {
  constexpr std::size_t kRowsHere = 5000, kWide = 3;
  std::vector<float> values(kRowsHere * kWide, 1.0f);
  const Rows rows{values.data(), kRowsHere, kWide};
  expect(first_nonfinite_row(rows) == kRowsHere, isa + ": finite rows are refused");
  for (const std::size_t bad : {4999, 2048, 2047, 1500, 0}) {
    values[bad * kWide + 1] = kNaN;
    expect(first_nonfinite_row(rows) == bad, isa + ": wrong first row");
  }
}

}  // namespace

void check_row_validation(const char* isa) {
  for (std::size_t d = 2; d < 100; ++d) {
    for (const Row& row : kRows) check_row(row, d, isa);
  }
  check_first(isa);
  std::printf("%-8s row validation: correct flaws and norms\n", isa);
}

void check_constant_dimensions() {
  const std::vector<float> values = {1, 2, 3, kNaN, 9, 9, 1, 5, 3, 1, 2, 3};
  const Rows rows{values.data(), 4, 3};
  std::uint8_t flaws[4];
  double squares[4];
  inspect(rows, flaws, squares, nullptr);
  ConstantDimensions all(3);
  expect(all.dimensions().empty(), "ConstantDimensions: dimensions without rows");
  all.update({values.data(), 2, 3}, flaws);
  expect(all.dimensions().size() == 3, "ConstantDimensions: a row with a NaN counts");
  all.update(rows, flaws);
  expect(all.dimensions() == std::vector<std::int64_t>{0, 2},
         "ConstantDimensions: wrong dimensions");
  expect_throw<InvalidArgument>([&] { all.update({values.data(), 2, 2}, flaws); }, "another d");
  std::printf("ConstantDimensions: correct\n");
}

}  // namespace waterfill
