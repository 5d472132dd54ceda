// The nearest centroid of each group: the byte of a code.
//
// A thread takes two rows of a group and eight centroids at a time, whose sums stay in registers.
// All threads of a warp read the same centroids at once, so that the first-level cache serves them
// with one access, and a centroid is unpacked once for two rows.
#include "device.hpp"

namespace waterfill {
namespace {

constexpr unsigned kRows = 2, kTogether = 8;

}  // namespace
}  // namespace waterfill

using namespace waterfill;

// Grid: 2 * blockDim.x rows, groups. groups: the numbers of those to do. offsets, pairs: by group,
// the first coordinate and the pairs of coordinates. books: of all groups, from book_starts on, a
// word per pair and centroid with two negative coordinates.
extern "C" __global__ void nearest_centroids(const std::int16_t* y, unsigned n, unsigned stride,
                                             const unsigned* groups, const unsigned* offsets,
                                             const unsigned* pairs, const unsigned* book_starts,
                                             const int* books, const std::int32_t* half_norms,
                                             std::uint8_t* codes, unsigned code_size) {
  const unsigned group = groups[blockIdx.y], count = pairs[group];
  const std::size_t first =
      (static_cast<std::size_t>(blockIdx.x) * blockDim.x * kRows) + threadIdx.x;
  const int* book = books + book_starts[group];
  const std::int32_t* norms = half_norms + group * kCentroids;
  const std::int16_t* own[kRows];
  for (unsigned r = 0; r < kRows; ++r) {
    const std::size_t row = first + r * blockDim.x;
    own[r] = y + (row < n ? row : n - 1) * stride + offsets[group];
  }
  std::int32_t least[kRows] = {0x7fffffff, 0x7fffffff};
  for (unsigned c = 0; c < kCentroids; c += kTogether) {
    std::int32_t scores[kRows][kTogether];
    for (unsigned i = 0; i < kTogether; ++i) {
      for (unsigned r = 0; r < kRows; ++r) scores[r][i] = norms[c + i];
    }
    for (unsigned j = 0; j < count; ++j) {
      const int* words = book + j * kCentroids + c;
      int even[kRows], odd[kRows];
      for (unsigned r = 0; r < kRows; ++r) {
        even[r] = own[r][2 * j];
        odd[r] = own[r][2 * j + 1];
      }
#pragma unroll
      for (unsigned i = 0; i < kTogether; ++i) {
        const int word = words[i], low = static_cast<std::int16_t>(word), high = word >> 16;
#pragma unroll
        for (unsigned r = 0; r < kRows; ++r) scores[r][i] += even[r] * low + odd[r] * high;
      }
    }
#pragma unroll
    for (unsigned i = 0; i < kTogether; ++i) {
#pragma unroll
      for (unsigned r = 0; r < kRows; ++r) {
        const std::int32_t key = centroid_key(scores[r][i], static_cast<std::int32_t>(c + i));
        if (key < least[r]) least[r] = key;
      }
    }
  }
  for (unsigned r = 0; r < kRows; ++r) {
    const std::size_t row = first + r * blockDim.x;
    if (row < n) codes[row * code_size + group] = static_cast<std::uint8_t>(least[r] & 255);
  }
}

// The coordinate of a second byte: what the first byte leaves of the same dimension. book: the
// start of the first byte's codebook in books, of one dimension; group: that byte.
extern "C" __global__ void second_coordinates(std::int16_t* y, unsigned n, unsigned stride,
                                              unsigned from, unsigned to, const int* books,
                                              unsigned book, float factor,
                                              const std::uint8_t* codes, unsigned code_size,
                                              unsigned group) {
  const std::size_t row = thread_of_grid();
  if (row >= n) return;
  const int word = books[book + codes[row * code_size + group]];
  y[row * stride + to] =
      second_coordinate(y[row * stride + from], static_cast<std::int16_t>(word), factor);
}
