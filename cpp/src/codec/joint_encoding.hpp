// Joint encoding: the bytes of a code are chosen together.
//
// The nearest centroid of each group minimizes the error of that group. Rankings depend on the
// angle between a vector and its decoded direction, since the norm is restored. One pass of
// coordinate descent over the groups chooses, byte by byte, the value that minimizes
//
//   | W (u - u_hat / |u_hat|) |^2,   W = weights^exponent,
//
// while the other bytes are fixed.
#pragma once

#include <cstdint>
#include <vector>

#include "waterfill/codec/codec.hpp"

namespace waterfill {

class JointEncoder {
 public:
  // exponent: of the weights.
  JointEncoder(const CodecParams& params, float exponent);

  // Of each coordinate: W^2 / weight. Of each centroid: |u|^2 and |W u|^2.
  const std::vector<float>& factors() const { return factors_; }
  const std::vector<float>& lengths() const { return lengths_; }
  const std::vector<float>& weighted() const { return weighted_; }

  // u: unweighted coordinates of a direction, in code order; code: the bytes of the groups.
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
  std::vector<float> factors_;             // W^2 / weight per coordinate
  std::vector<float> lengths_, weighted_;  // per centroid
};

}  // namespace waterfill
