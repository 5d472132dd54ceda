// Coarse scores of L2 indexes: the reference for the other instruction sets.
#include <algorithm>

#include "kernels.hpp"

namespace waterfill {
namespace {

float value(const SideTable& table, std::uint8_t byte) {
  if (byte == 0) return table.zero;
  const float product = table.high[byte / 16] * table.low[byte % 16];
  return std::min(product, kLargestFloat);
}

template <bool kCells>
float score(float t, std::uint8_t scale, std::uint8_t extra, const CoarseTerms& terms) {
  const float z = value(*terms.z, scale);
  if constexpr (kCells) {
    const float e = (static_cast<float>(extra) - kOffsetMiddle) / kOffsetRange;
    const float spread = z * terms.norm_range + terms.line;
    const float offset = terms.w * z * (z * terms.middle + e * spread);
    return terms.list_term + z * terms.gain * t - offset;
  } else {
    const float rho = z * value(*terms.rho, extra);
    return 2 * z * value(*terms.factor, extra) * t - terms.w * rho * rho;
  }
}

template <bool kCells>
void scores_of(const std::uint16_t* sums, const std::uint8_t* scale, const std::uint8_t* extra,
               std::size_t blocks, const CoarseTerms& terms, float threshold, float* scores,
               std::uint32_t* masks) {
  for (std::size_t b = 0; b < blocks; ++b) {
    masks[b] = 0;
    for (std::size_t v = 0; v < kBlock; ++v) {
      const std::size_t i = b * kBlock + v;
      const float t = terms.bias + terms.step * static_cast<float>(sums[i]);
      scores[i] = score<kCells>(t, scale[i], extra[i], terms);
      masks[b] |= (scores[i] >= threshold ? 1u : 0u) << v;
    }
  }
}

}  // namespace

CoarseKernels scalar_coarse_kernels() {
  return {.without_cells = scores_of<false>, .with_cells = scores_of<true>};
}

}  // namespace waterfill
