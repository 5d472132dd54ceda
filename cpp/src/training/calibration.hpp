// Choices that only a search on held-out rows can make.
#pragma once

#include <memory>

#include "waterfill/codec/codec.hpp"

namespace waterfill {

struct Alphas {
  Alpha ip, l2;
  double recall_ip = 0, recall_l2 = 0;  // of the true ten with them; 0: not measured
};

// The alphas with the best recall of the true ten nearest when `base` is scored in full. The
// codec's scales are not used.
Alphas calibrate_alpha(const Codec& codec, const Rows& base, const Rows& queries);

struct Depths {
  Depth ip, l2;
};

// How deep a search must go so that 99.8 % of the true neighbours among the full score's ten
// nearest pass the coarse stage: the cheapest numbers of planes and candidates that do. Metrics
// that the codec does not serve get those of another.
Depths calibrate_depths(const std::shared_ptr<const Codec>& codec, const Rows& base,
                        const Rows& queries);

}  // namespace waterfill
