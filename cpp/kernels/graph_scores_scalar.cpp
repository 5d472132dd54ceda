// Products of a graph's rows: the definition.
#include "kernels.hpp"

namespace waterfill {
namespace {

constexpr int kNibble = 15, kNibbleBits = 4, kDigit = 64;

void front(const std::uint8_t* lines, const std::uint32_t* rows, std::size_t n,
           const std::int8_t* weights, std::int32_t* sums) {
  const std::int8_t* low = weights + kGraphHead;
  const std::int8_t* high = weights + kGraphLine + kGraphHead;
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint8_t* values = lines + std::size_t{rows[i]} * kGraphLine + kGraphHead;
    std::int32_t sum = 0;
    for (std::size_t j = 0; j < kGraphHalf; ++j) {
      sum += low[j] * (values[j] & kNibble) + high[j] * (values[j] >> kNibbleBits);
    }
    sums[i] = sum;
  }
}

std::int32_t product(std::int8_t high, std::int8_t low, int byte) {
  return (kDigit * high + low) * byte;
}

std::int32_t full(const std::uint8_t* line, const std::uint8_t* rest, std::size_t tail,
                  const std::int8_t* high, const std::int8_t* low) {
  std::int32_t sum = 0;
  for (std::size_t j = 0; j < kGraphHalf; ++j) {
    const int front = line[kGraphHead + j], back = rest[j];
    const std::size_t first = kGraphHead + j, second = kGraphLine + first;
    const int first_byte = (front & kNibble) << kNibbleBits | (back & kNibble);
    const int second_byte = (front >> kNibbleBits) << kNibbleBits | back >> kNibbleBits;
    sum += product(high[first], low[first], first_byte);
    sum += product(high[second], low[second], second_byte);
  }
  for (std::size_t j = 0; j < tail; ++j) {
    sum += product(high[2 * kGraphLine + j], low[2 * kGraphLine + j], rest[kGraphHalf + j]);
  }
  return sum;
}

}  // namespace

GraphKernels scalar_graph_kernels() {
  return {.front = front, .full = full};
}

}  // namespace waterfill
