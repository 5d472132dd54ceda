// The terms of full scores, without tables, with AVX2: the centroids of eight codes are loaded four
// values at a time and transposed, so that each code has a lane. The order of operations is that of
// scalar.cpp.
#include <immintrin.h>

#include <algorithm>

#include "kernels.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kColumns = 4, kStep = 16;  // values that are transposed; groups of a step
static_assert(kPointPadding == kColumns - 1 && kCodePadding == kStep - 1 && kCodes == 8);

// Bytes of kStep groups: of code 0 to 7 for the first group, then for the second.
struct Bytes {
  alignas(32) std::uint8_t of[kStep][kCodes];

  Bytes(const std::uint8_t* codes, std::size_t size) {
    __m128i rows[kCodes], pairs[kCodes], fours[kCodes];
    for (std::size_t i = 0; i < kCodes; ++i) {
      rows[i] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes + i * size));
    }
    for (std::size_t i = 0; i < kCodes; i += 2) {
      pairs[i] = _mm_unpacklo_epi8(rows[i], rows[i + 1]);  // of the first eight groups
      pairs[i + 1] = _mm_unpackhi_epi8(rows[i], rows[i + 1]);
    }
    for (std::size_t i = 0; i < kCodes; i += 4) {
      for (std::size_t half = 0; half < 2; ++half) {
        fours[i + 2 * half] = _mm_unpacklo_epi16(pairs[i + half], pairs[i + half + 2]);
        fours[i + 2 * half + 1] = _mm_unpackhi_epi16(pairs[i + half], pairs[i + half + 2]);
      }
    }
    auto* out = reinterpret_cast<__m128i*>(of);
    for (std::size_t quarter = 0; quarter < 4; ++quarter) {
      const __m128i first = fours[quarter], second = fours[quarter + 4];
      _mm_store_si128(out + 2 * quarter, _mm_unpacklo_epi32(first, second));
      _mm_store_si128(out + 2 * quarter + 1, _mm_unpackhi_epi32(first, second));
    }
  }
};

// Four values of two centroids: the first of codes 0 to 3, the second of codes 4 to 7.
__m256 row(const float* low, const float* high) {
  return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(low)), _mm_loadu_ps(high), 1);
}

// The first kUsed of four values of each code, a register for each value.
template <std::size_t kUsed>
void transpose(const __m256* rows, __m256* columns) {
  constexpr int kLow = 0x44, kHigh = 0xee;  // the low or the high halves of both
  const __m256 front = _mm256_unpacklo_ps(rows[0], rows[1]);
  const __m256 back = _mm256_unpacklo_ps(rows[2], rows[3]);
  columns[0] = _mm256_shuffle_ps(front, back, kLow);
  if constexpr (kUsed > 1) columns[1] = _mm256_shuffle_ps(front, back, kHigh);
  if constexpr (kUsed > 2) {
    const __m256 front_end = _mm256_unpackhi_ps(rows[0], rows[1]);
    const __m256 back_end = _mm256_unpackhi_ps(rows[2], rows[3]);
    columns[2] = _mm256_shuffle_ps(front_end, back_end, kLow);
    if constexpr (kUsed > 3) columns[3] = _mm256_shuffle_ps(front_end, back_end, kHigh);
  }
}

struct Lanes {
  __m256 products, lengths;

  // Adds kDimensions dimensions of a group from `first` on, and then its squared length if kLast.
  // values: per centroid.
  template <std::size_t kDimensions, bool kLast>
  __m256 add(__m256 product, const float* q, const float* group, const std::uint8_t* codes,
             std::size_t values, std::size_t first) {
    __m256 rows[kColumns], columns[kColumns];
    for (std::size_t i = 0; i < kColumns; ++i) {
      rows[i] =
          row(group + codes[i] * values + first, group + codes[i + kColumns] * values + first);
    }
    transpose<kDimensions + (kLast ? 1 : 0)>(rows, columns);
    for (std::size_t j = 0; j < kDimensions; ++j) {
      const __m256 value = _mm256_broadcast_ss(q + first + j);
      product = _mm256_add_ps(product, _mm256_mul_ps(value, columns[j]));
    }
    if constexpr (kLast) lengths = _mm256_add_ps(lengths, columns[kDimensions]);
    return product;
  }

  // Adds a group: its width is known to the compiler where it is small.
  template <std::size_t kWidth>
  void add_group(const float* q, const float* group, const std::uint8_t* codes) {
    constexpr std::size_t kWhole = kWidth / kColumns * kColumns, kValues = kWidth + 1;
    __m256 product = _mm256_setzero_ps();
    for (std::size_t j = 0; j < kWhole; j += kColumns) {
      product = add<kColumns, false>(product, q, group, codes, kValues, j);
    }
    product = add<kWidth - kWhole, true>(product, q, group, codes, kValues, kWhole);
    products = _mm256_add_ps(products, product);
  }

  void add_group(const float* q, const float* group, const std::uint8_t* codes, std::size_t width) {
    switch (width) {
      case 1:
        return add_group<1>(q, group, codes);
      case 2:
        return add_group<2>(q, group, codes);
      case 3:
        return add_group<3>(q, group, codes);
      case 4:
        return add_group<4>(q, group, codes);
      case 5:
        return add_group<5>(q, group, codes);
      case 6:
        return add_group<6>(q, group, codes);
      case 7:
        return add_group<7>(q, group, codes);
      case 8:
        return add_group<8>(q, group, codes);
      default:
        break;
    }
    __m256 product = _mm256_setzero_ps();
    std::size_t j = 0;
    for (; j < width; ++j) product = add<1, false>(product, q, group, codes, width + 1, j);
    product = add<0, true>(product, q, group, codes, width + 1, j);
    products = _mm256_add_ps(products, product);
  }
};

// The entries of a table of sixteen values for the high nibbles of codes.
__m256 of_cells(const float* table, const std::uint8_t* bytes) {
  const __m256i codes =
      _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes)));
  const __m256i high = _mm256_srli_epi32(codes, 4);
  const __m256 low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table), high);
  const __m256 upper = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table + kCells / 2), high);
  return _mm256_blendv_ps(low, upper, _mm256_castsi256_ps(_mm256_slli_epi32(codes, 24)));
}

void code_sums(const float* q, const CodePoints& points, const std::uint8_t* codes,
               std::size_t size, CodeSums& sums) {
  Lanes lanes{_mm256_setzero_ps(), _mm256_setzero_ps()};
  __m256 cells = _mm256_setzero_ps();
  const float* group = points.points;
  for (std::size_t first = 0; first < points.groups; first += kStep) {
    const Bytes bytes(codes + first, size);
    const std::size_t end = std::min(first + kStep, points.groups);
    for (std::size_t g = first; g < end; ++g) {
      const std::uint8_t* own = bytes.of[g - first];
      const std::size_t width = points.offsets[g + 1] - points.offsets[g];
      if (points.cells != nullptr) {
        cells = _mm256_add_ps(cells, of_cells(points.cells + g * kCells, own));
      }
      lanes.add_group(q, group, own, width);
      q += width;
      group += kCentroids * (width + 1);
    }
  }
  _mm256_storeu_ps(sums.products, lanes.products);
  _mm256_storeu_ps(sums.lengths, lanes.lengths);
  _mm256_storeu_ps(sums.cells, cells);
}

}  // namespace

CodeSumsKernel avx2_code_sums() {
  return code_sums;
}

}  // namespace waterfill
