// Coarse scores of L2 indexes.
#include "kernel_check.hpp"

namespace waterfill {
namespace {

SideTable table_of(Inputs& inputs) {
  SideTable table{};
  for (float& value : table.high) value = inputs.reals<float>(1)[0];
  for (float& value : table.low) value = inputs.reals<float>(1)[0];
  table.zero = inputs.reals<float>(1)[0];
  if (inputs.integer(0, 9) == 0) {  // products beyond float32
    table.high[inputs.integer(0, 15)] = std::numeric_limits<float>::max();
  }
  return table;
}

}  // namespace

void check_coarse_scores(const Kernels& scalar, const Kernels& own) {
  using Score = CoarseKernels::Score;
  const auto check = [&](const char* name, Score reference, Score score) {
    Tally tally(own.isa, name);
    Inputs inputs(13);
    for (std::size_t times = 0; times < 100; ++times) {
      for (const std::size_t blocks : kBlockCounts) {
        const SideTable z = table_of(inputs), rho = table_of(inputs), factor = table_of(inputs);
        const auto reals = inputs.reals<float>(8);
        const CoarseTerms terms{.z = &z,
                                .rho = &rho,
                                .factor = &factor,
                                .bias = reals[0],
                                .step = reals[1],
                                .w = reals[2],
                                .list_term = reals[3],
                                .gain = reals[4],
                                .middle = reals[5],
                                .norm_range = reals[6],
                                .line = reals[7]};
        const std::size_t n = blocks * kBlock;
        const auto sums = inputs.integers<std::uint16_t>(n, 0, 65535);
        const auto scale = inputs.integers<std::uint8_t>(n, 0, 255);
        const auto extra = inputs.integers<std::uint8_t>(n, 0, 255);
        auto expected = blank<float>(n), found = expected;
        auto reached = blank<std::uint32_t>(blocks), own_reached = reached;
        const auto run = [&](float threshold) {
          reference(sums.data(), scale.data(), extra.data(), blocks, terms, threshold,
                    expected.data(), reached.data());
          score(sums.data(), scale.data(), extra.data(), blocks, terms, threshold, found.data(),
                own_reached.data());
        };
        run(0);
        if (n > 0) run(expected[times % n]);  // one vector has exactly the threshold
        tally.compare(expected, found, {{"blocks", blocks}, {"times", times}});
        tally.compare(reached, own_reached, {{"blocks", blocks}, {"times", times}});
      }
    }
    tally.report();
  };
  check("coarse without cells", scalar.coarse.without_cells, own.coarse.without_cells);
  check("coarse with cells", scalar.coarse.with_cells, own.coarse.with_cells);
}

}  // namespace waterfill
