// Calibration: parameters of a codec that are chosen by searches with held-out rows.
#pragma once

#include <memory>

#include "waterfill/codec/codec.hpp"

namespace waterfill {

struct Alphas {
  Alpha ip, l2;
  double recall_ip = 0, recall_l2 = 0;  // recall of the ten nearest; 0: not measured
};

// The exponents alpha with the best recall of the true ten nearest by full scores. The scales of
// the codec are not used.
Alphas calibrate_alpha(const Codec& codec, const Rows& base, const Rows& queries);

struct Depths {
  Depth ip, l2;
};

// The cheapest search depths at which 99.8 % of the true neighbors among the ten nearest by full
// score pass the coarse stage. Metrics that the codec does not support get the depth of another.
Depths calibrate_depths(const std::shared_ptr<const Codec>& codec, const Rows& base,
                        const Rows& queries);

}  // namespace waterfill
