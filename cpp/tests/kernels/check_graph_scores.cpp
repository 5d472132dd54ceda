// Integer products of a graph's rows.
#include <algorithm>

#include "kernel_check.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kRows = 9;
constexpr std::size_t kTails[] = {0, 1, 24, 31, 32, 33, 63, 64, 65, 152, 280};

// Weights as GraphRows::prepare lays them out, with zeros where there is no value.
std::vector<std::int8_t> weights_of(Inputs& inputs, std::size_t tail, std::int64_t most) {
  const std::size_t padded = (tail + kGraphLine - 1) / kGraphLine * kGraphLine;
  auto weights = inputs.integers<std::int8_t>(2 * kGraphLine + padded, -most, most);
  if (inputs.integer(0, 1) == 0) {  // the largest sums of two products
    std::fill(weights.begin(), weights.end(), static_cast<std::int8_t>(most));
  }
  std::fill_n(weights.begin(), kGraphHead, std::int8_t{0});
  std::fill_n(weights.begin() + kGraphLine, kGraphHead, std::int8_t{0});
  std::fill(weights.begin() + static_cast<std::ptrdiff_t>(2 * kGraphLine + tail), weights.end(),
            std::int8_t{0});
  return weights;
}

}  // namespace

void check_graph_scores(const Kernels& scalar, const Kernels& own) {
  Tally fronts(own.isa, "graph front"), full(own.isa, "graph full");
  Inputs inputs(12);
  for (std::size_t times = 0; times < 8; ++times) {
    const std::int64_t least = times == 0 ? 255 : 0;
    const auto lines = inputs.integers<std::uint8_t>(kRows * kGraphLine, least, 255);
    const auto front_weights = weights_of(inputs, 0, 127);
    for (std::size_t n : kRowCounts) {
      const auto rows = inputs.integers<std::uint32_t>(n, 0, kRows - 1);
      auto expected = blank<std::int32_t>(n), found = expected;
      scalar.graph.front(lines.data(), rows.data(), n, front_weights.data(), expected.data());
      own.graph.front(lines.data(), rows.data(), n, front_weights.data(), found.data());
      fronts.compare(expected, found, {{"rows", n}, {"times", times}});
    }
    for (std::size_t tail : kTails) {
      const auto high = weights_of(inputs, tail, 64), low = weights_of(inputs, tail, 64);
      const std::size_t bytes = kGraphHalf + tail;
      const auto rests = inputs.integers<std::uint8_t>(kRows * bytes + 2 * kGraphLine, least, 255);
      auto expected = blank<std::int32_t>(kRows), found = expected;
      for (std::size_t row = 0; row < kRows; ++row) {
        const std::uint8_t* line = lines.data() + row * kGraphLine;
        const std::uint8_t* rest = rests.data() + kGraphLine + row * bytes;
        expected[row] = scalar.graph.full(line, rest, tail, high.data(), low.data());
        found[row] = own.graph.full(line, rest, tail, high.data(), low.data());
      }
      full.compare(expected, found, {{"tail", tail}, {"times", times}});
    }
  }
  fronts.report();
  full.report();
}

}  // namespace waterfill
