// Coarse scores of an L2 index with cells: the reference for the other instruction sets.
#include "kernels.hpp"

namespace waterfill {
namespace {

std::uint32_t offset_scores(const std::uint16_t* sums, const std::uint8_t* scale,
                            const std::uint8_t* extra, const OffsetTerms& terms, float threshold,
                            float* scores) {
  std::uint32_t reached = 0;
  for (std::size_t v = 0; v < kBlock; ++v) {
    const float z = terms.scales[scale[v]];
    const float t = terms.bias + terms.step * static_cast<float>(sums[v]);
    const float e = (static_cast<float>(extra[v]) - kOffsetMiddle) / kOffsetRange;
    const float spread = z * terms.norm_range + terms.line;
    const float offset = terms.w * z * (z * terms.middle + e * spread);
    scores[v] = terms.list_term + z * terms.gain * t - offset;
    reached |= (scores[v] >= threshold ? 1u : 0u) << v;
  }
  return reached;
}

}  // namespace

OffsetKernel scalar_offset_scores() {
  return offset_scores;
}

}  // namespace waterfill
