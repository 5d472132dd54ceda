// Helpers and entry points of kernel_check: random inputs, and a comparison that names the case.
//
// Inputs have exactly the size that kernels.hpp specifies, so that a sanitizer detects reads beyond
// them. Outputs are longer and compared to the end, so that writes beyond them are differences.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "core/random.hpp"
#include "kernels.hpp"

namespace waterfill {

inline constexpr std::size_t kRowCounts[] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 64};
inline constexpr std::size_t kBlockCounts[] = {0, 1, 2, 31, 32, 33};
inline constexpr std::size_t kSlack = 16;  // values behind an output that kernels must not write
inline constexpr std::int64_t kLeast = -32768, kLargest = 32767;  // range of 16-bit inputs

// Inputs of one kernel, the same for every instruction set and machine.
class Inputs {
 public:
  explicit Inputs(std::uint64_t seed) : random_(seed) {}

  std::int64_t integer(std::int64_t low, std::int64_t high) {  // both inclusive
    return low +
           static_cast<std::int64_t>(random_.next() % static_cast<std::uint64_t>(high - low + 1));
  }

  template <typename T>
  std::vector<T> integers(std::size_t n, std::int64_t low, std::int64_t high) {
    std::vector<T> values(n);
    for (T& value : values) value = static_cast<T>(integer(low, high));
    return values;
  }

  // Values of both signs and very different sizes, including zeros of both signs and denormals. A
  // different order of the terms or a product that is not rounded changes the result.
  template <typename T>
  std::vector<T> reals(std::size_t n) {
    std::vector<T> values(n);
    for (T& value : values) {
      value = static_cast<T>(2 * random_.uniform() - 1);
      const std::int64_t kind = integer(0, 15);
      if (kind == 0) value *= T{0};
      if (kind == 1) value *= std::numeric_limits<T>::min();
      if (kind == 2) value *= T{1 << 20};
    }
    return values;
  }

  std::vector<float> scales(std::size_t n,
                            double largest) {  // multiples of largest / 100, of both signs
    std::vector<float> values(n);
    for (float& value : values) {
      const auto percent = static_cast<double>(integer(-100, 100));
      value = static_cast<float>(largest * percent / 100);
    }
    return values;
  }

 private:
  Random random_;
};

using Name = std::vector<std::pair<const char*, std::size_t>>;  // the sizes of a case

// Counts the cases of one kernel and throws at the first difference.
class Tally {
 public:
  Tally(const char* isa, const char* kernel) : title_(std::string(isa) + " " + kernel) {}

  template <typename T>
  void compare(const std::vector<T>& expected, const std::vector<T>& found, const Name& name) {
    ++cases_;
    const std::size_t bytes = expected.size() * sizeof(T);
    if (std::memcmp(expected.data(), found.data(), bytes) == 0) return;
    std::string text = title_ + " differs from scalar:";
    for (const auto& [key, value] : name) {
      text += std::string(" ") + key + "=" + std::to_string(value);
    }
    std::size_t i = 0;
    while (std::memcmp(&expected[i], &found[i], sizeof(T)) == 0) ++i;
    char values[128];
    std::snprintf(values, sizeof values, "; output %zu of %zu is %.17g, not %.17g", i,
                  expected.size() - kSlack, static_cast<double>(found[i]),
                  static_cast<double>(expected[i]));
    throw std::runtime_error(text + values);
  }

  void report() const { std::printf("%s: %d cases agree\n", title_.c_str(), cases_); }

 private:
  std::string title_;
  int cases_ = 0;
};

// The initial contents of an output, which no kernel writes.
template <typename T>
std::vector<T> blank(std::size_t n) {
  return std::vector<T>(n + kSlack, static_cast<T>(91));
}

// Kernels that decide about codes: check_encoding.cpp.
void check_residual(const Kernels& scalar, const Kernels& own);
void check_rotate_int16(const Kernels& scalar, const Kernels& own);
void check_rotate_int8(const Kernels& scalar, const Kernels& own);
void check_nearest(const Kernels& scalar, const Kernels& own);

void check_crc32c(const Kernels& scalar, const Kernels& own);

// Scores of refine rows: check_row_scores.cpp.
void check_row_scores(const Kernels& scalar, const Kernels& own);
void check_float16();

// Integer products of a graph's rows: check_graph_scores.cpp.
void check_graph_scores(const Kernels& scalar, const Kernels& own);

// A query's tables and its ranking of lists: check_query_tables.cpp.
void check_query_tables(const Kernels& scalar, const Kernels& own);

// Sums of full scores without tables: check_code_sums.cpp.
void check_code_sums(const Kernels& scalar, const Kernels& own);

// Coarse scores of L2 indexes: check_coarse_scores.cpp.
void check_coarse_scores(const Kernels& scalar, const Kernels& own);

}  // namespace waterfill
