// Training of a codec from a sample.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "waterfill/codec/codec.hpp"

namespace waterfill {

struct TrainParams {
  std::uint64_t seed = 0;
  int iterations = 25;
  std::optional<Alpha> alpha;   // of the scale, for both metrics; calibrated if not set
  bool shared = false;          // groups of one width share a codebook, without second bytes
  bool with_codebooks = false;  // the codebooks are there already: a device trained them
};

// The work that `train_codec` counts, about in proportion to its time.
inline constexpr std::uint64_t kTrainingWork = 1'000'000;

// Fewer held-out rows than this leave alphas and search depths at their defaults.
inline constexpr std::size_t kFewestQueries = 32;

// Trains codebooks, then calibrates alphas, scales and search depths.
//
// params: all fields except those that training fills in.
// sample: rows that train the codebooks.
// held_out: rows that serve as queries against the sample to choose
//   - alpha of the scale for inner product and for L2, by recall of the ten nearest,
//   - search depths: enough coarse groups and candidates to find 99.5 % of the ten nearest by full
//     score.
std::shared_ptr<Codec> train_codec(CodecParams params, const Rows& sample, const Rows& held_out,
                                   const TrainParams& train);

}  // namespace waterfill
