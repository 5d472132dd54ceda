// Coarse scores of L2 indexes: the reference for the other instruction sets.
#include "kernels.hpp"
#include "waterfill/core/arithmetic.hpp"

namespace waterfill {
namespace {

template <bool kCells>
void scores_of(const std::uint16_t* sums, const std::uint8_t* scale, const std::uint8_t* extra,
               std::size_t blocks, const CoarseTerms& terms, float threshold, float* scores,
               std::uint32_t* masks) {
  for (std::size_t b = 0; b < blocks; ++b) {
    masks[b] = 0;
    for (std::size_t v = 0; v < kBlock; ++v) {
      const std::size_t i = b * kBlock + v;
      const float t = terms.bias + terms.step * static_cast<float>(sums[i]);
      scores[i] = kCells ? coarse_distance_in_cell(t, scale[i], extra[i], terms)
                         : coarse_distance(t, scale[i], extra[i], terms);
      masks[b] |= (scores[i] >= threshold ? 1u : 0u) << v;
    }
  }
}

}  // namespace

CoarseKernels scalar_coarse_kernels() {
  return {.without_cells = scores_of<false>, .with_cells = scores_of<true>};
}

}  // namespace waterfill
