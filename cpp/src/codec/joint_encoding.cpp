#include "codec/joint_encoding.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "kernels.hpp"
#include "waterfill/core/arithmetic.hpp"

namespace waterfill {

JointEncoder::JointEncoder(const CodecParams& params, float exponent)
    : params_(params),
      lengths_(params.shapes.size() * kCentroids, 0.0f),
      weighted_(params.shapes.size() * kCentroids, 0.0f) {
  std::size_t j = 0;
  for (std::size_t g = 0; g < params.shapes.size(); ++g) {
    offsets_.push_back(j);
    for (const std::size_t end = j + params.shapes[g].width; j < end; ++j) {
      const float weight = params.weights[j], w = std::pow(weight, exponent);
      factors_.push_back(w * w / weight);
      for (std::size_t c = 0; c < kCentroids; ++c) {
        const float value = params.codebooks.books[j * kCentroids + c] / weight;
        lengths_[g * kCentroids + c] += value * value;
        weighted_[g * kCentroids + c] += w * value * (w * value);
      }
    }
  }
}

float JointEncoder::State::cost() const {
  return joint_cost(product, length, weighted);
}

void JointEncoder::improve(const float* u, std::uint8_t* code) const {
  const std::size_t groups = offsets_.size();
  std::vector<float> scaled(factors_.size()), products(groups * kCentroids);
  for (std::size_t j = 0; j < scaled.size(); ++j) scaled[j] = u[j] * factors_[j];
  State state;
  for (std::size_t g = 0; g < groups; ++g) {
    float* own = products.data() + g * kCentroids;
    kernels().table(scaled.data() + offsets_[g], params_.shapes[g].width,
                    params_.codebooks.books.data() + offsets_[g] * kCentroids, own);
    state.product += own[code[g]];
    state.length += lengths_[g * kCentroids + code[g]];
    state.weighted += weighted_[g * kCentroids + code[g]];
  }
  for (std::size_t g = 0; g < groups; ++g) {
    improve_group(g, products.data() + g * kCentroids, state, code[g]);
  }
}

// The gradient of the cost proposes a byte, and the cost itself decides. Exact costs of all 256
// bytes would need a square root and a division each.
void JointEncoder::improve_group(std::size_t g, const float* products, State& state,
                                 std::uint8_t& byte) const {
  constexpr float kLeast = 1e-12f;
  const float squares = std::max(state.length, kLeast), root = std::sqrt(squares);
  const float by_weighted = 1 / squares, by_product = -2 / root;
  const float by_length = state.product / (squares * root) - state.weighted / (squares * squares);
  const float* lengths = lengths_.data() + g * kCentroids;
  const float* weighted = weighted_.data() + g * kCentroids;
  std::array<float, kCentroids> costs;
  for (std::size_t c = 0; c < kCentroids; ++c) {
    costs[c] = by_weighted * weighted[c] + by_length * lengths[c] + by_product * products[c];
  }
  constexpr std::size_t kWays = 16;  // independent minima
  std::array<float, kWays> least;
  std::copy_n(costs.begin(), kWays, least.begin());
  for (std::size_t c = kWays; c < kCentroids; c += kWays) {
    for (std::size_t i = 0; i < kWays; ++i) {
      least[i] = costs[c + i] < least[i] ? costs[c + i] : least[i];
    }
  }
  const float smallest = *std::min_element(least.begin(), least.end());
  const auto best =
      static_cast<std::size_t>(std::find(costs.begin(), costs.end(), smallest) - costs.begin());
  if (best == kCentroids || best == byte) return;
  const State changed{state.product + products[best] - products[byte],
                      state.length + lengths[best] - lengths[byte],
                      state.weighted + weighted[best] - weighted[byte]};
  if (!(changed.cost() < state.cost())) return;
  state = changed;
  byte = static_cast<std::uint8_t>(best);
}

}  // namespace waterfill
