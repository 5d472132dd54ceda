// Calibration: parameters of a codec that are chosen by searches with held-out rows.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "training/calibration_scores.hpp"
#include "waterfill/codec/codec.hpp"
#include "waterfill/index/index.hpp"

namespace waterfill {

// What each counts of the work of training, about in proportion to its time.
inline constexpr std::uint64_t kAlphaWork = 150'000, kSearchWork = 200'000;

struct Alphas {
  Alpha ip, l2;
  double recall_ip = 0, recall_l2 = 0;  // recall of the ten nearest; 0: not measured
};

// The exponents alpha with the best recall of the true ten nearest by full scores. The scales of
// the codec are not used.
Alphas calibrate_alpha(const Codec& codec, const Rows& base, const Rows& queries);

// What a search needs to know of the lists, for inner product and for L2.
struct SearchCalibration {
  Depth depth_ip, depth_l2;
  ListRecall list_recall_ip, list_recall_l2;
};

// The cheapest search depths at which 99.8 % of the true neighbors among the ten nearest by full
// score pass the coarse stage, and the recall of lists if there are any. Metrics that the codec
// does not support get the values of another.
SearchCalibration calibrate_search(const std::shared_ptr<const Codec>& codec, const Rows& base,
                                   const Rows& queries);

// The recall of the lists of an index over `base`, whose codes are given. tops: the true ten
// nearest of each query.
ListRecall calibrate_list_recall(const Index& index, const Rows& base,
                                 const std::vector<std::uint8_t>& codes, const Rows& queries,
                                 const std::vector<Top>& tops);

}  // namespace waterfill
