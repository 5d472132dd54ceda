// A codec from a sample: codebooks, then the few numbers that only a search can tell.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "waterfill/codec/codec.hpp"

namespace waterfill {

struct TrainParams {
  std::uint64_t seed = 0;
  int iterations = 25;
  std::optional<Alpha> alpha;  // of the scale, for both metrics; chosen if not given
};

// params: everything but codebooks, alphas, scales and depths, which training fills in.
// sample: rows whose directions train the codebooks; held_out: rows that are used as queries
// against the sample to choose
//   - alpha of the scale, for inner product and for L2 (recall of the ten nearest),
//   - depths: enough planes and candidates that 99.5 % of the full score's ten nearest are found.
// With fewer than kFewestQueries held-out rows the defaults stay.
inline constexpr std::size_t kFewestQueries = 32;
std::shared_ptr<Codec> train_codec(CodecParams params, const Rows& sample, const Rows& held_out,
                                   const TrainParams& train);

}  // namespace waterfill
