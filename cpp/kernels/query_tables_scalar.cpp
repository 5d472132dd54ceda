// A query's tables and its ranking of lists: the reference for the other instruction sets.
#include <array>

#include "kernels.hpp"

namespace waterfill {
namespace {

void cells(const float* q, const std::size_t* offsets, std::size_t groups, const float* book,
           float* out) {
  for (std::size_t g = 0; g < groups; ++g, out += kCells) {
    for (std::size_t h = 0; h < kCells; ++h) {
      out[h] = 0;
      for (std::size_t j = offsets[g]; j < offsets[g + 1]; ++j) {
        out[h] += q[j] * book[j * kCells + h];
      }
    }
  }
}

void ranges(const float* cells, std::size_t groups, float* least, float* range) {
  for (std::size_t g = 0; g < groups; ++g) {
    std::array<float, kCells> low, high;
    for (std::size_t h = 0; h < kCells; ++h) low[h] = high[h] = cells[g * kCells + h];
    for (std::size_t half = kCells / 2; half > 0; half /= 2) {
      for (std::size_t h = 0; h < half; ++h) {
        low[h] = low[h] < low[h + half] ? low[h] : low[h + half];
        high[h] = high[h] > high[h + half] ? high[h] : high[h + half];
      }
    }
    least[g] = low[0];
    range[g] = high[0] - low[0];
  }
}

void quantize(const float* cells, const float* least, const std::uint32_t* groups,
              const float* before, std::size_t n, float inverse_step, std::uint8_t* luts) {
  constexpr float kMost = kMaxEntry;
  for (std::size_t i = 0; i < n; ++i, luts += kCells) {
    const float* own = cells + groups[i] * kCells;
    for (std::size_t h = 0; h < kCells; ++h) {
      const float steps = (own[h] - least[groups[i]]) * inverse_step - before[i];
      const float positive = steps > 0 ? steps : 0;  // 0 for NaN
      luts[h] = static_cast<std::uint8_t>(positive < kMost ? positive : kMost);
    }
  }
}

std::uint32_t rank(const std::int16_t* products, const float* addends, std::size_t n, float unit,
                   float share, float threshold, float* scores) {
  std::uint32_t mask = 0;
  for (std::size_t i = 0; i < n; ++i) {
    scores[i] = static_cast<float>(products[i]) * unit + share * addends[i];
    mask |= (scores[i] >= threshold ? 1u : 0u) << i;
  }
  return mask;
}

}  // namespace

QueryKernels scalar_query_kernels() {
  return {.cells = cells, .ranges = ranges, .quantize = quantize, .rank = rank};
}

}  // namespace waterfill
