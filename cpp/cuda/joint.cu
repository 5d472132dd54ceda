// Joint encoding: one pass of coordinate descent over the bytes of a code (joint_encoding.hpp).
//
// A warp takes a row and goes through its groups in order. For each, lane i proposes among the
// centroids i, i + 32, ..., and all lanes know the sums that the cost depends on. The steps, their
// order and what happens with NaN are those of JointEncoder.
#include "device.hpp"

namespace waterfill {
namespace {

constexpr unsigned kShare = kCentroids / kWarp;  // centroids of a lane

struct Sums {
  float product = 0, length = 0, weighted = 0;
  __device__ float cost() const { return joint_cost(product, length, weighted); }
};

// A group and a row's coordinates in it.
struct Group {
  const std::int16_t* y;
  const float *scales, *factors, *book, *lengths, *weighted;
  unsigned width;

  __device__ float product(unsigned c) const {
    float sum = 0;
    for (unsigned j = 0; j < width; ++j) {
      sum += static_cast<float>(y[j]) / scales[j] * factors[j] * book[j * kCentroids + c];
    }
    return sum;
  }
};

// The centroid that the gradient of the cost proposes; kCentroids for none.
__device__ unsigned proposed(const Group& group, const Sums& sums, unsigned lane) {
  constexpr float kLeast = 1e-12f;
  const float squares = sums.length < kLeast ? kLeast : sums.length, root = sqrtf(squares);
  const float by_weighted = 1 / squares, by_product = -2 / root;
  const float by_length = sums.product / (squares * root) - sums.weighted / (squares * squares);
  float costs[kShare];
#pragma unroll
  for (unsigned i = 0; i < kShare; ++i) {
    const unsigned c = i * kWarp + lane;
    costs[i] = by_weighted * group.weighted[c] + by_length * group.lengths[c] +
               by_product * group.product(c);
  }
  // The CPU keeps 16 minima, of every sixteenth centroid. A NaN is kept only as the first of them.
  constexpr unsigned kWays = 16;
  float least = lane < kWays ? costs[0] : -negative_infinity();
#pragma unroll
  for (unsigned i = 0; i < kShare; ++i) least = costs[i] < least ? costs[i] : least;
  const float other = __shfl_down_sync(kAllLanes, least, kWays);
  least = other < least ? other : least;
  float smallest = __shfl_sync(kAllLanes, least, 0);
  for (unsigned way = 1; way < kWays; ++way) {
    const float value = __shfl_sync(kAllLanes, least, way);
    smallest = value < smallest ? value : smallest;
  }
  unsigned first = kCentroids;
#pragma unroll
  for (unsigned i = kShare; i > 0; --i) {
    if (costs[i - 1] == smallest) first = (i - 1) * kWarp + lane;
  }
  for (unsigned distance = kWarp / 2; distance > 0; distance /= 2) {
    const unsigned number = __shfl_xor_sync(kAllLanes, first, distance);
    first = number < first ? number : first;
  }
  return first;
}

}  // namespace
}  // namespace waterfill

using namespace waterfill;

// offsets, widths: by group. books: rows of 256 values. lengths, weighted: of each centroid.
extern "C" __global__ void encode_jointly(const std::int16_t* y, unsigned n, unsigned stride,
                                          unsigned groups, const unsigned* offsets,
                                          const unsigned* widths, const float* scales,
                                          const float* factors, const float* books,
                                          const float* lengths, const float* weighted,
                                          std::uint8_t* codes, unsigned code_size) {
  const std::size_t row = thread_of_grid() / kWarp;
  const unsigned lane = threadIdx.x % kWarp;
  if (row >= n) return;  // the whole warp
  std::uint8_t* code = codes + row * code_size;
  const auto group_of = [&](unsigned g) {
    const unsigned j = offsets[g];
    return Group{y + row * stride + j,
                 scales + j,
                 factors + j,
                 books + static_cast<std::size_t>(j) * kCentroids,
                 lengths + g * kCentroids,
                 weighted + g * kCentroids,
                 widths[g]};
  };
  Sums sums;
  for (unsigned g = 0; g < groups; ++g) {
    const Group group = group_of(g);
    sums.product += group.product(code[g]);
    sums.length += group.lengths[code[g]];
    sums.weighted += group.weighted[code[g]];
  }
  for (unsigned g = 0; g < groups; ++g) {
    const Group group = group_of(g);
    const unsigned best = proposed(group, sums, lane), byte = code[g];
    if (best == kCentroids || best == byte) continue;  // the same in all lanes
    const Sums changed{sums.product + group.product(best) - group.product(byte),
                       sums.length + group.lengths[best] - group.lengths[byte],
                       sums.weighted + group.weighted[best] - group.weighted[byte]};
    if (!(changed.cost() < sums.cost())) continue;
    sums = changed;
    __syncwarp();
    if (lane == 0) code[g] = static_cast<std::uint8_t>(best);
    __syncwarp();
  }
}
