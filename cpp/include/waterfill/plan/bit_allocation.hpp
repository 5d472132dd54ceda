// From eigenvalues to groups: how many bits each eigen-dimension gets, and which share a byte.
//
// Eigen-dimensions are numbered by falling eigenvalue.
#pragma once

#include <cstdint>
#include <vector>

#include "waterfill/core/types.hpp"

namespace waterfill {

inline constexpr double kByteBits = 8;
inline constexpr double kMaxRate = 16;         // a dimension has at most two bytes: see Group
inline constexpr std::size_t kBinaryDims = 8;  // one-bit dimensions that share a byte

// A set of dimensions that share one code byte: 256 centroids over all of them (vector), or one
// bit and two centroids for each of at most eight (binary).
//
// A dimension of more than eight bits stands in two groups: in one alone, and in a later one with
// what that one leaves of it.
enum class GroupKind : std::uint8_t { vector = 0, binary = 1 };

struct Group {
  std::vector<std::uint32_t> dims;
  GroupKind kind = GroupKind::vector;
};

// How the thresholds of the classic plan are meant.
enum class Threshold {
  eigenvalue,  // of the data's covariance, in squared units of the data
  variance,    // share of the variance that the leading dimensions hold together
  dimensions,  // share of the number of dimensions
};

// Eigenvalues of the covariance, shrunk towards equal ones as the oracle-approximating estimator
// does (Chen, Wiesel, Eldar & Hero 2010), which needs no more than eigenvalues and the number of
// rows. Much data: nearly unchanged. Fewer rows than dimensions: no dimension is left at zero.
std::vector<double> shrink(const std::vector<double>& eigenvalues, std::uint64_t rows);

// Reverse water-filling: b_i = clip(1/2 log2(variance_i / theta), 0, kMaxRate) with theta such
// that the rates sum to `bits` (Cover & Thomas, Elements of Information Theory, 10.3.3).
std::vector<double> reverse_waterfill(const std::vector<double>& variances, double bits);

// Dimensions by falling rate, each into the group with the smallest rate so far; dimensions of
// rate 0 are left out unless a group would stay empty.
std::vector<Group> waterfill_groups(const std::vector<double>& rates, std::size_t code_bytes);

// The leading dimensions are high (a byte each), the following medium (a bit each), the rest low.
struct Classes {
  std::size_t high, medium;
};
Classes classic_classes(const std::vector<double>& eigenvalues, double variance, double th_high,
                        double th_mid, Threshold meaning);
std::vector<Group> classic_groups(const Classes& classes);

struct Distortion {
  double expected;  // of these groups, from the measured loss of 256-entry vector quantizers
  double bound;     // Shannon's for Gaussian dimensions at the same number of bits
};
// Mean squared error of the decoded direction, relative to its energy. weights: factors of the
// coordinates that are quantized, one for each dimension that the groups use.
Distortion predict_distortion(const std::vector<double>& variances,
                              const std::vector<double>& weights, const std::vector<Group>& groups);

}  // namespace waterfill
