// Coarse scores of an L2 index with cells.
#include "kernel_check.hpp"

namespace waterfill {

void check_offset_scores(const Kernels& scalar, const Kernels& own) {
  Tally tally(own.isa, "offset scores");
  Inputs inputs(13);
  for (std::size_t times = 0; times < 500; ++times) {
    const auto scales = inputs.reals<float>(kCentroids), terms = inputs.reals<float>(8);
    const auto sums = inputs.integers<std::uint16_t>(kBlock, 0, 65535);
    const auto scale = inputs.integers<std::uint8_t>(kBlock, 0, 255);
    const auto extra = inputs.integers<std::uint8_t>(kBlock, 0, 255);
    const OffsetTerms all{.scales = scales.data(),
                          .bias = terms[0],
                          .step = terms[1],
                          .list_term = terms[2],
                          .gain = terms[3],
                          .w = terms[4],
                          .middle = terms[5],
                          .norm_range = terms[6],
                          .line = terms[7]};
    // The vectors that reach a score of the block: one of them has exactly the threshold.
    auto expected = blank<float>(kBlock), found = expected;
    scalar.offset_scores(sums.data(), scale.data(), extra.data(), all, 0, expected.data());
    const float threshold = expected[times % kBlock];
    auto reached = blank<std::uint32_t>(1), own_reached = reached;
    reached[0] = scalar.offset_scores(sums.data(), scale.data(), extra.data(), all, threshold,
                                      expected.data());
    own_reached[0] =
        own.offset_scores(sums.data(), scale.data(), extra.data(), all, threshold, found.data());
    tally.compare(expected, found, {{"times", times}});
    tally.compare(reached, own_reached, {{"times", times}});
  }
  tally.report();
}

}  // namespace waterfill
