// Scores of refine rows with NEON, which converts float16 on every 64-bit ARM, in the order of
// row_scores_scalar.cpp: lane l of register r is the scalar lane 4 r + l. The rules of neon.cpp
// apply.
#include <arm_neon.h>

#include "kernels.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kWide = 4, kRegisters = kRowLanes / kWide;

// A row returns four values from the k-th on; `rest` pads with zeros.

template <class T>
void copy(T* part, const char* row, std::size_t k, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    __builtin_memcpy(part + i, row + sizeof(T) * (k + i), sizeof(T));
  }
}

struct Float32 {
  const char* row;

  explicit Float32(const void* data) : row(static_cast<const char*>(data)) {}

  float32x4_t four(std::size_t k) const {  // any alignment, hence bytes
    return vreinterpretq_f32_u8(vld1q_u8(reinterpret_cast<const std::uint8_t*>(row + 4 * k)));
  }
  float32x4_t rest(std::size_t k, std::size_t count) const {
    float part[kWide] = {};
    copy(part, row, k, count);
    return vld1q_f32(part);
  }
};

struct Float16 {
  const char* row;

  explicit Float16(const void* data) : row(static_cast<const char*>(data)) {}

  float32x4_t four(std::size_t k) const {
    const uint8x8_t bytes = vld1_u8(reinterpret_cast<const std::uint8_t*>(row + 2 * k));
    return vcvt_f32_f16(vreinterpret_f16_u8(bytes));
  }
  float32x4_t rest(std::size_t k, std::size_t count) const {
    std::uint16_t part[kWide] = {};
    copy(part, row, k, count);
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(part)));
  }
};

struct Int8 {
  const char* bytes;
  float32x4_t middle, step;

  explicit Int8(const void* data) : bytes(static_cast<const char*>(data) + kRowHead) {
    float head[2];
    __builtin_memcpy(head, data, sizeof head);
    middle = vdupq_n_f32(head[0]);
    step = vdupq_n_f32(head[1]);
  }

  float32x4_t value(std::uint32_t four_bytes) const {
    const int8x8_t numbers = vreinterpret_s8_u32(vdup_n_u32(four_bytes));
    const int32x4_t wide = vmovl_s16(vget_low_s16(vmovl_s8(numbers)));
    return vaddq_f32(middle, vmulq_f32(step, vcvtq_f32_s32(wide)));
  }
  float32x4_t four(std::size_t k) const {
    std::uint32_t four_bytes;
    __builtin_memcpy(&four_bytes, bytes + k, sizeof four_bytes);
    return value(four_bytes);
  }
  float32x4_t rest(std::size_t k, std::size_t count) const {
    std::uint32_t four_bytes = 0;
    __builtin_memcpy(&four_bytes, bytes + k, count);
    float values[kWide];
    vst1q_f32(values, value(four_bytes));
    for (std::size_t i = count; i < kWide; ++i) values[i] = 0;
    return vld1q_f32(values);
  }
};

struct Product {
  static float32x4_t term(float32x4_t query, float32x4_t row) { return vmulq_f32(query, row); }
};

struct Distance {
  static float32x4_t term(float32x4_t query, float32x4_t row) {
    const float32x4_t apart = vsubq_f32(query, row);
    return vmulq_f32(apart, apart);
  }
};

float sum_of(float32x4_t* sum) {
  for (std::size_t half = kRegisters / 2; half > 0; half /= 2) {
    for (std::size_t r = 0; r < half; ++r) sum[r] = vaddq_f32(sum[r], sum[r + half]);
  }
  const float32x2_t two = vadd_f32(vget_low_f32(sum[0]), vget_high_f32(sum[0]));
  return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

template <class Row, class Score>
float score(const float* query, const void* data, std::size_t d) {
  const Row row(data);
  float32x4_t sum[kRegisters];
  for (std::size_t r = 0; r < kRegisters; ++r) sum[r] = vdupq_n_f32(0);
  std::size_t k = 0;
  for (; k + kRowLanes <= d; k += kRowLanes) {
    for (std::size_t r = 0; r < kRegisters; ++r) {
      const std::size_t at = k + r * kWide;
      sum[r] = vaddq_f32(sum[r], Score::term(vld1q_f32(query + at), row.four(at)));
    }
  }
  for (std::size_t r = 0; r < kRegisters && k < d; ++r, k += kWide) {
    float32x4_t term;
    if (k + kWide <= d) {
      term = Score::term(vld1q_f32(query + k), row.four(k));
    } else {
      term = Score::term(Float32(query).rest(k, d - k), row.rest(k, d - k));
    }
    sum[r] = vaddq_f32(sum[r], term);
  }
  return sum_of(sum);
}

}  // namespace

RowKernels neon_row_kernels() {
  return {.product = {.float32 = score<Float32, Product>,
                      .float16 = score<Float16, Product>,
                      .int8 = score<Int8, Product>},
          .distance = {.float32 = score<Float32, Distance>,
                       .float16 = score<Float16, Distance>,
                       .int8 = score<Int8, Distance>}};
}

}  // namespace waterfill
