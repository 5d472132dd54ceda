// Bytes chosen together. The nearest centroid of each group is the best choice for that group's
// error; what ranks is the angle between a vector and what it decodes to, since its length is
// restored. One pass over the groups takes, byte by byte, the one that makes
//
//   | W (u - u_hat / |u_hat|) |^2,   W = weights^exponent,
//
// smallest while the others stay.
#pragma once

#include <cstdint>
#include <vector>

#include "waterfill/codec/codec.hpp"

namespace waterfill {

class JointEncoder {
 public:
  // exponent: of the coordinates' weights.
  JointEncoder(const CodecParams& params, float exponent);

  // u: a direction's coordinates without weights, in code order; code: the bytes of the groups.
  void improve(const float* u, std::uint8_t* code) const;

 private:
  // <W^2 u, u_hat>, |u_hat|^2 and |W u_hat|^2.
  struct State {
    float product = 0, length = 0, weighted = 0;
    float cost() const;
  };
  void improve_group(std::size_t g, const float* products, State& state, std::uint8_t& byte) const;

  const CodecParams& params_;
  std::vector<std::size_t> offsets_;
  std::vector<float> factors_;             // W^2 / weight of each coordinate
  std::vector<float> lengths_, weighted_;  // of each centroid
};

}  // namespace waterfill
