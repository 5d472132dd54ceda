// The nearest centroid of each group: the byte of a code.
//
// A thread takes two rows of a group and eight centroids at a time. The rows' coordinates and the
// sums stay in registers, for groups of up to 24 dimensions. All threads of a warp read the same
// centroids at once, so that the first-level cache serves them with one access, and a centroid is
// unpacked once for two rows.
#include "device.hpp"

namespace waterfill {
namespace {

constexpr unsigned kRows = 2, kTogether = 8, kMostPairs = 12;

// Eight centroids of a pair of coordinates, read together.
struct alignas(16) Words {
  int word[4];
};

// A group's coordinates of two rows.
struct Coordinates {
  const std::int16_t* rows[kRows];

  __device__ int operator()(unsigned row, unsigned j) const { return rows[row][j]; }
};

// The same in registers; their numbers must be constants, so loops over them are unrolled.
template <unsigned kPairs>
struct Loaded {
  int values[kRows][2 * kPairs];

  __device__ explicit Loaded(const Coordinates& from) {
#pragma unroll
    for (unsigned r = 0; r < kRows; ++r) {
#pragma unroll
      for (unsigned j = 0; j < 2 * kPairs; ++j) values[r][j] = from(r, j);
    }
  }
  __device__ int operator()(unsigned row, unsigned j) const { return values[row][j]; }
};

// Adds the products with eight centroids of pair j.
template <class Values>
__device__ void add_pair(const Values& y, unsigned j, const int* words,
                         std::int32_t (&scores)[kRows][kTogether]) {
#pragma unroll
  for (unsigned quarter = 0; quarter < kTogether / 4; ++quarter) {
    const Words four = reinterpret_cast<const Words*>(words)[quarter];
#pragma unroll
    for (unsigned i = 0; i < 4; ++i) {
      const int low = static_cast<std::int16_t>(four.word[i]), high = four.word[i] >> 16;
#pragma unroll
      for (unsigned r = 0; r < kRows; ++r) {
        scores[r][4 * quarter + i] += y(r, 2 * j) * low + y(r, 2 * j + 1) * high;
      }
    }
  }
}

// kPairs: of the group, or 0 for any number, `count`.
template <unsigned kPairs, class Values>
__device__ void find_nearest(const Values& y, unsigned count, const int* book,
                             const std::int32_t* norms, std::int32_t (&least)[kRows]) {
  for (unsigned c = 0; c < kCentroids; c += kTogether) {
    std::int32_t scores[kRows][kTogether];
#pragma unroll
    for (unsigned i = 0; i < kTogether; ++i) {
#pragma unroll
      for (unsigned r = 0; r < kRows; ++r) scores[r][i] = norms[c + i];
    }
    if constexpr (kPairs > 0) {
#pragma unroll
      for (unsigned j = 0; j < kPairs; ++j) add_pair(y, j, book + j * kCentroids + c, scores);
    } else {
      for (unsigned j = 0; j < count; ++j) add_pair(y, j, book + j * kCentroids + c, scores);
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
}

// Calls find_nearest for the number of pairs of a group.
template <unsigned kPairs>
__device__ void dispatch(const Coordinates& y, unsigned count, const int* book,
                         const std::int32_t* norms, std::int32_t (&least)[kRows]) {
  if constexpr (kPairs > kMostPairs) {
    find_nearest<0>(y, count, book, norms, least);
  } else if (count == kPairs) {
    find_nearest<kPairs>(Loaded<kPairs>(y), count, book, norms, least);
  } else {
    dispatch<kPairs + 1>(y, count, book, norms, least);
  }
}

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
  const unsigned group = groups[blockIdx.y];
  const std::size_t first =
      (static_cast<std::size_t>(blockIdx.x) * blockDim.x * kRows) + threadIdx.x;
  Coordinates own;
  for (unsigned r = 0; r < kRows; ++r) {
    const std::size_t row = first + r * blockDim.x;
    own.rows[r] = y + (row < n ? row : n - 1) * stride + offsets[group];
  }
  std::int32_t least[kRows] = {0x7fffffff, 0x7fffffff};
  dispatch<1>(own, pairs[group], books + book_starts[group], half_norms + group * kCentroids,
              least);
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
