// Bit allocation: from eigenvalues to bits per dimension, and to the groups that share a code byte.
//
// Eigen-dimensions are numbered by descending eigenvalue.
#pragma once

#include <cstdint>
#include <vector>

#include "waterfill/core/types.hpp"

namespace waterfill {

inline constexpr double kByteBits = 8;
inline constexpr double kMaxRate = 16;         // bits of a dimension: at most two bytes, see Group
inline constexpr std::size_t kBinaryDims = 8;  // one-bit dimensions that share a byte

// `vector`: 256 centroids over all dimensions of the group. `binary`: at most eight dimensions with
// one bit and two centroids each.
enum class GroupKind : std::uint8_t { vector = 0, binary = 1 };

// A set of dimensions that share one code byte.
//
// A dimension with more than eight bits is in two groups: it is alone in the first, and a later
// group codes the residual of that byte.
struct Group {
  std::vector<std::uint32_t> dims;
  GroupKind kind = GroupKind::vector;
};

// The quantity that the thresholds of the classic plan refer to.
enum class Threshold {
  eigenvalue,  // of the covariance of the data, in squared units of the data
  variance,    // cumulative share of the variance
  dimensions,  // cumulative share of the number of dimensions
};

// Shrinks the eigenvalues of a covariance towards their mean with the oracle-approximating
// estimator (Chen, Wiesel, Eldar & Hero 2010), which needs only eigenvalues and the number of rows.
// With many rows they hardly change; with fewer rows than dimensions none stays at zero.
std::vector<double> shrink(const std::vector<double>& eigenvalues, std::uint64_t rows);

// Reverse water-filling: b_i = clip(1/2 log2(variance_i / theta), 0, kMaxRate) with theta such
// that the rates sum to `bits` (Cover & Thomas, Elements of Information Theory, 10.3.3).
std::vector<double> reverse_waterfill(const std::vector<double>& variances, double bits);

// Assigns dimensions by descending rate, each to the group with the smallest rate so far.
// Dimensions of rate 0 are dropped unless a group would stay empty.
std::vector<Group> waterfill_groups(const std::vector<double>& rates, std::size_t code_bytes);

// Sizes of the classes of the classic plan: the leading dimensions are high (a byte each), the next
// ones medium (a bit each), the rest are dropped.
struct Classes {
  std::size_t high, medium;
};
Classes classic_classes(const std::vector<double>& eigenvalues, double variance, double th_high,
                        double th_mid, Threshold meaning);
std::vector<Group> classic_groups(const Classes& classes);

struct Distortion {
  double expected;  // of these groups, from the measured loss of 256-entry vector quantizers
  double bound;     // Shannon's bound for Gaussian dimensions at the same number of bits
};
// Mean squared error of the decoded direction, relative to its energy. weights: factors that the
// coordinates are multiplied by before quantization, one per dimension.
Distortion predict_distortion(const std::vector<double>& variances,
                              const std::vector<double>& weights, const std::vector<Group>& groups);

}  // namespace waterfill
