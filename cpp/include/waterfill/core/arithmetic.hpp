// The arithmetic that decides codes, candidates and scores, one value at a time. The core, the
// scalar kernels and the CUDA kernels compile these functions, so that all give the same bits:
// integers where possible, and else single roundings in a fixed order. No compiler may fuse them.
#pragma once

#include "waterfill/core/coarse_terms.hpp"
#include "waterfill/core/constants.hpp"

#if defined(__CUDACC__)
#define WATERFILL_SHARED __host__ __device__ inline
#else
#include <math.h>
#define WATERFILL_SHARED inline
#endif

namespace waterfill {

WATERFILL_SHARED std::uint32_t float_bits(float value) {
#if defined(__CUDA_ARCH__)
  return __float_as_uint(value);
#else
  std::uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  return bits;
#endif
}

WATERFILL_SHARED float negative_infinity() {
#if defined(__CUDA_ARCH__)
  return __uint_as_float(0xff800000u);
#else
  return -HUGE_VALF;
#endif
}

// round(value), ties to even, for |value| < 2^22; any integer for other values. Unlike nearbyint it
// can be vectorized.
WATERFILL_SHARED std::int32_t round_small(float value) {
  constexpr float kShift = 12582912.0f;  // 1.5 * 2^23: the last bit of the sum has the value 1
  return static_cast<std::int32_t>(float_bits(value + kShift) - float_bits(kShift));
}

// The value within +-limit; -limit for NaN.
WATERFILL_SHARED float clipped(float value, float limit) {
  const float least = -limit < value ? value : -limit;
  return limit < least ? limit : least;
}

// A value of a residual in fixed point, for the rotations. factor: kLargestRowValue / largest for 7
// bits, kFixedOne / norm for 16.
WATERFILL_SHARED std::uint8_t quantized_to_7_bits(float value, float factor) {
  // The mask changes nothing unless `largest` is so small that the factor is infinite.
  return static_cast<std::uint8_t>((round_small(value * factor) + kRowOffset) & kRowMask);
}
WATERFILL_SHARED std::int16_t quantized_to_16_bits(float value, float factor) {
  constexpr float kMost = kFixedOne;
  const float product = value * factor, least = product < -kMost ? -kMost : product;
  return static_cast<std::int16_t>(round_small(kMost < least ? kMost : least));
}

// The nearest integer (ties to even), clipped to +-32767.
WATERFILL_SHARED std::int16_t to_int16(float value) {
  constexpr float kLargest = 32767;
  const float cut = value < -kLargest ? -kLargest : value > kLargest ? kLargest : value;
  return static_cast<std::int16_t>(rintf(cut));
}

// A coordinate in the fixed point of a codebook, for the nearest centroid.
WATERFILL_SHARED std::int16_t codebook_coordinate(float value, float scale) {
  constexpr float kLargest = 32767;
  return static_cast<std::int16_t>(round_small(clipped(value * scale, kLargest)));
}

// A coordinate in the fixed point of k-means, whose sums are integers and do not depend on the
// order of rows. unit: of summing_unit, for values of the same group.
WATERFILL_SHARED std::int32_t summand(float value, float unit) {
  return round_small(value * unit);
}

// The bin of a histogram over the values of one coordinate.
WATERFILL_SHARED std::uint32_t seed_bin(float value, double low, double width) {
  const double bin = (value - low) / width;
  return bin < kSeedBins - 1 ? static_cast<std::uint32_t>(bin) : kSeedBins - 1;
}

// What the nearest centroid has the least of: the score without its last bits, which make room for
// the number.
WATERFILL_SHARED std::int32_t centroid_key(std::int32_t score, std::int32_t centroid) {
  return (score & -kScoreUnit) | centroid;
}

// The difference between a coordinate and its centroid, given as a negative, times a factor.
WATERFILL_SHARED std::int16_t second_coordinate(std::int16_t y, std::int16_t negative,
                                                float factor) {
  constexpr float kMost = kFixedOne;
  return static_cast<std::int16_t>(
      round_small(clipped(static_cast<float>(y + negative) * factor, kMost)));
}

// |u|^alpha from |u|^2, by square roots only. alpha: in quarters.
WATERFILL_SHARED float length_power(float squares, std::uint32_t alpha) {
  constexpr float kSmallestSquare = 1e-12f;  // of directions that decode to (nearly) zero
  if (alpha == 0) return 1.0f;
  const float one = sqrtf(squares < kSmallestSquare ? kSmallestSquare : squares);
  if (alpha == 4) return one;
  const float half = sqrtf(one);
  if (alpha == 2) return half;
  const float quarter = sqrtf(half);
  return alpha == 1 ? quarter : half * quarter;
}

// The code of a positive number on a logarithmic scale, given the thresholds of its codes from 2
// on: see LogScale. 0 for zero, negative numbers and NaN.
WATERFILL_SHARED std::uint8_t scale_code(double value, const double* thresholds) {
  if (!(value > 0)) return 0;
  int low = 0, high = 254;  // of the thresholds, the first `low` do not exceed the value
  while (low < high) {
    const int middle = (low + high) / 2;
    if (thresholds[middle] <= value) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return static_cast<std::uint8_t>(low + 1);
}

// What the bytes of a code are chosen by together: see joint_encoding.hpp. Without |W u|^2, which
// is constant.
WATERFILL_SHARED float joint_cost(float product, float length, float weighted) {
  constexpr float kLeast = 1e-12f;
  const float squares = length < kLeast ? kLeast : length;
  return weighted / squares - 2 * product / sqrtf(squares);
}

WATERFILL_SHARED float side_value(const SideTable& table, std::uint8_t byte) {
  if (byte == 0) return table.zero;
  const float product = table.high[byte / 16] * table.low[byte % 16];
  return kLargestFloat < product ? kLargestFloat : product;
}

// 2 z factor(extra) t - w (z rho(extra))^2
WATERFILL_SHARED float coarse_distance(float t, std::uint8_t scale, std::uint8_t extra,
                                       const CoarseTerms& terms) {
  const float z = side_value(*terms.z, scale);
  const float rho = z * side_value(*terms.rho, extra);
  return 2 * z * side_value(*terms.factor, extra) * t - terms.w * rho * rho;
}

// list_term + z gain t - w z (z middle + e (z norm_range + line)), e = (extra - 128) / 127
WATERFILL_SHARED float coarse_distance_in_cell(float t, std::uint8_t scale, std::uint8_t extra,
                                               const CoarseTerms& terms) {
  const float z = side_value(*terms.z, scale);
  const float e = (static_cast<float>(extra) - kOffsetMiddle) / kOffsetRange;
  const float spread = z * terms.norm_range + terms.line;
  const float offset = terms.w * z * (z * terms.middle + e * spread);
  return terms.list_term + z * terms.gain * t - offset;
}

// The full score from sums of table entries: t of the products, lengths of |u|^2; product:
// <c - mean, u>, with cells. Sums beyond float32 say nothing, and no L2 score is infinite: a vector
// is at least 0 away.
WATERFILL_SHARED float full_score(bool euclidean, float list_term, float t, float lengths, float s,
                                  float product, float w) {
  constexpr float kMost = kLargestFloat;
  float score = list_term + s * t;
  if (euclidean) score = list_term + 2 * s * (t - w * product) - w * s * s * lengths;
  const bool valid = score <= kMost || (score > kMost && !euclidean);
  return valid ? score : negative_infinity();
}

// A score as an integer of the same order.
WATERFILL_SHARED std::uint32_t ordered_score(float score) {
  constexpr std::uint32_t kSign = 0x80000000u;
  const std::uint32_t bits = float_bits(score + 0.0f);  // + 0: no negative zero
  return (bits & kSign) != 0 ? ~bits : bits | kSign;
}

// The score that an integer of `ordered_score` stands for.
WATERFILL_SHARED float score_of(std::uint32_t ordered) {
  constexpr std::uint32_t kSign = 0x80000000u;
  const std::uint32_t bits = (ordered & kSign) != 0 ? ordered ^ kSign : ~ordered;
#if defined(__CUDA_ARCH__)
  return __uint_as_float(bits);
#else
  float score;
  __builtin_memcpy(&score, &bits, sizeof score);
  return score;
#endif
}

// A score and a position as one integer: a higher score is greater, and of equal scores the
// smaller position.
WATERFILL_SHARED std::uint64_t candidate_key(float score, std::uint32_t position) {
  return std::uint64_t{ordered_score(score)} << 32 | std::uint32_t{~position};
}

}  // namespace waterfill
