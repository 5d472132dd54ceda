// Scalar scores of refine rows: the reference for the other instruction sets.
#include <cstring>

#include "float16.hpp"
#include "kernels.hpp"

namespace waterfill {
namespace {

template <class T>
T load(const void* bytes, std::size_t i) {  // of any alignment
  T value;
  std::memcpy(&value, static_cast<const char*>(bytes) + i * sizeof(T), sizeof(T));
  return value;
}

struct Float32 {
  const void* row;

  float operator[](std::size_t k) const { return load<float>(row, k); }
};

struct Float16 {
  const void* row;

  float operator[](std::size_t k) const { return from_float16(load<std::uint16_t>(row, k)); }
};

struct Int8 {
  const std::int8_t* bytes;
  float middle, step;

  explicit Int8(const void* row)
      : bytes(static_cast<const std::int8_t*>(row) + kRowHead),
        middle(load<float>(row, 0)),
        step(load<float>(row, 1)) {}

  float operator[](std::size_t k) const { return middle + step * static_cast<float>(bytes[k]); }
};

float sum_of(float* lanes) {
  for (std::size_t half = kRowLanes / 2; half > 0; half /= 2) {
    for (std::size_t l = 0; l < half; ++l) lanes[l] += lanes[l + half];
  }
  return lanes[0];
}

template <class Row>
float product(const float* query, const void* data, std::size_t d) {
  const Row row{data};
  float lanes[kRowLanes] = {};
  for (std::size_t k = 0; k < d; ++k) lanes[k % kRowLanes] += query[k] * row[k];
  return sum_of(lanes);
}

template <class Row>
float distance(const float* query, const void* data, std::size_t d) {
  const Row row{data};
  float lanes[kRowLanes] = {};
  for (std::size_t k = 0; k < d; ++k) {
    const float apart = query[k] - row[k];
    lanes[k % kRowLanes] += apart * apart;
  }
  return sum_of(lanes);
}

}  // namespace

RowKernels scalar_row_kernels() {
  return {
      .product = {.float32 = product<Float32>, .float16 = product<Float16>, .int8 = product<Int8>},
      .distance = {
          .float32 = distance<Float32>, .float16 = distance<Float16>, .int8 = distance<Int8>}};
}

}  // namespace waterfill
