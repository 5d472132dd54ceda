// A query's tables and its ranking of lists.
#include <algorithm>
#include <limits>

#include "kernel_check.hpp"

namespace waterfill {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

void check_cells(const Kernels& scalar, const Kernels& own) {
  Tally tally(own.isa, "cells");
  Inputs inputs(21);
  for (std::size_t times = 0; times < 200; ++times) {
    std::vector<std::size_t> offsets{0};
    const auto groups = static_cast<std::size_t>(inputs.integer(1, 9));
    for (std::size_t g = 0; g < groups; ++g) {
      offsets.push_back(offsets.back() + static_cast<std::size_t>(inputs.integer(1, 12)));
    }
    const auto q = inputs.reals<float>(offsets.back()),
               book = inputs.reals<float>(offsets.back() * kCells);
    auto expected = blank<float>(groups * kCells), found = expected;
    scalar.query.cells(q.data(), offsets.data(), groups, book.data(), expected.data());
    own.query.cells(q.data(), offsets.data(), groups, book.data(), found.data());
    tally.compare(expected, found, {{"groups", groups}, {"times", times}});
  }
  tally.report();
}

void check_ranges(const Kernels& scalar, const Kernels& own) {
  Tally tally(own.isa, "ranges");
  Inputs inputs(22);
  for (std::size_t times = 0; times < 200; ++times) {
    for (const std::size_t groups : {1u, 2u, 7u}) {
      auto cells = inputs.reals<float>(groups * kCells);
      if (times % 4 == 1) std::fill(cells.begin(), cells.end(), 0.5f);
      if (times % 4 == 2) {  // a zero of either sign, where it is the least and where it is not
        for (float& value : cells) value = inputs.integer(0, 1) == 0 ? 0.0f : -0.0f;
        cells[0] = inputs.reals<float>(1)[0];
      }
      auto expected = blank<float>(2 * groups), found = expected;
      scalar.query.ranges(cells.data(), groups, expected.data(), expected.data() + groups);
      own.query.ranges(cells.data(), groups, found.data(), found.data() + groups);
      tally.compare(expected, found, {{"groups", groups}, {"times", times}});
    }
  }
  tally.report();
}

// Steps below zero and beyond the largest entry are clipped, and NaN gives 0.
void check_quantize(const Kernels& scalar, const Kernels& own) {
  Tally tally(own.isa, "quantize");
  Inputs inputs(23);
  for (std::size_t times = 0; times < 200; ++times) {
    for (const std::size_t n : {0u, 1u, 2u, 9u}) {
      constexpr std::size_t kGroups = 5;
      auto cells = inputs.reals<float>(kGroups * kCells);
      if (times % 3 == 1) cells[static_cast<std::size_t>(inputs.integer(0, 79))] = kNan;
      const auto least = inputs.reals<float>(kGroups);
      const auto groups = inputs.integers<std::uint32_t>(n, 0, kGroups - 1);
      std::vector<float> before;
      for (std::size_t i = 0; i < n; ++i) {
        before.push_back(static_cast<float>(inputs.integer(0, 3) * kMaxEntry) - 0.5f);
      }
      const auto inverse_step = static_cast<float>(inputs.integer(0, 2000)) / 10;
      auto expected = blank<std::uint8_t>(n * kCells), found = expected;
      scalar.query.quantize(cells.data(), least.data(), groups.data(), before.data(), n,
                            inverse_step, expected.data());
      own.query.quantize(cells.data(), least.data(), groups.data(), before.data(), n, inverse_step,
                         found.data());
      tally.compare(expected, found, {{"n", n}, {"times", times}});
    }
  }
  tally.report();
}

void check_rank(const Kernels& scalar, const Kernels& own) {
  Tally tally(own.isa, "rank");
  Inputs inputs(24);
  for (std::size_t times = 0; times < 50; ++times) {
    for (std::size_t n = 0; n <= 32; ++n) {
      const auto products = inputs.integers<std::int16_t>(n, kLeast, kLargest);
      const auto addends = inputs.reals<float>(n);
      const float unit = inputs.reals<float>(1)[0], share = inputs.reals<float>(1)[0];
      auto expected = blank<float>(n), found = expected;
      auto reached = blank<std::uint32_t>(1), own_reached = reached;
      const auto run = [&](float threshold) {
        reached[0] = scalar.query.rank(products.data(), addends.data(), n, unit, share, threshold,
                                       expected.data());
        own_reached[0] = own.query.rank(products.data(), addends.data(), n, unit, share, threshold,
                                        found.data());
        tally.compare(expected, found, {{"n", n}, {"times", times}});
        tally.compare(reached, own_reached, {{"n", n}, {"times", times}});
      };
      run(std::numeric_limits<float>::lowest());
      if (n > 0) run(expected[times % n]);  // one list has exactly the threshold
    }
  }
  tally.report();
}

}  // namespace

void check_query_tables(const Kernels& scalar, const Kernels& own) {
  check_cells(scalar, own);
  check_ranges(scalar, own);
  check_quantize(scalar, own);
  check_rank(scalar, own);
}

}  // namespace waterfill
