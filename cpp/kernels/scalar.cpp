// The scalar kernels: the reference that every other instruction set is tested against.
#include "kernels.hpp"
#include "waterfill/core/arithmetic.hpp"

namespace waterfill {
namespace {

void project(const float* x, std::size_t rows, std::size_t d, const float* w, std::size_t panels,
             float* y) {
  for (std::size_t panel = 0; panel < panels; ++panel) {
    const float* columns = w + panel * d * kPanel;
    for (std::size_t r = 0; r < rows; ++r) {
      float sum[kPanel] = {};
      for (std::size_t k = 0; k < d; ++k) {
        const float value = x[r * d + k];
        for (std::size_t j = 0; j < kPanel; ++j) sum[j] += value * columns[k * kPanel + j];
      }
      float* out = y + (r * panels + panel) * kPanel;
      for (std::size_t j = 0; j < kPanel; ++j) out[j] = sum[j];
    }
  }
}

void residual(const float* row, const float* mean, std::size_t d, float* out, float* squares,
              float* largest) {
  for (std::size_t part = 0; part < kParts; ++part) squares[part] = largest[part] = 0;
  for (std::size_t k = 0; k < d; ++k) {
    const std::size_t part = k < d / kParts * kParts ? k % kParts : 0;
    out[k] = row[k] - mean[k];
    squares[part] += out[k] * out[k];
    const float size = out[k] < 0 ? -out[k] : out[k];
    if (size > largest[part]) largest[part] = size;
  }
}

void rotate_int16(const std::int16_t* x, std::size_t rows, std::size_t d, const std::int16_t* w,
                  const float* scales, std::size_t panels, std::int16_t* y) {
  for (std::size_t j = 0; j < panels * kPanel; ++j) {
    const std::int16_t* column = w + (j / kPanel * (d / 2) * kPanel + j % kPanel) * 2;
    for (std::size_t r = 0; r < rows; ++r) {
      std::int32_t sum = 0;
      for (std::size_t k = 0; k < d; ++k) {
        sum += x[r * d + k] * column[k / 2 * kPanel * 2 + k % 2];
      }
      y[r * panels * kPanel + j] = to_int16(static_cast<float>(sum) * scales[j]);
    }
  }
}

void rotate_int8(const std::uint8_t* x, std::size_t rows, std::size_t d, const std::int8_t* w,
                 const std::int32_t* offsets, const float* scales, const float* row_scales,
                 std::size_t panels, std::int16_t* y) {
  for (std::size_t j = 0; j < panels * kPanel; ++j) {
    const std::int8_t* column = w + (j / kPanel * (d / 4) * kPanel + j % kPanel) * 4;
    for (std::size_t r = 0; r < rows; ++r) {
      std::int32_t sum = -offsets[j];
      for (std::size_t k = 0; k < d; ++k) {
        sum += x[r * d + k] * column[k / 4 * kPanel * 4 + k % 4];
      }
      y[r * panels * kPanel + j] = to_int16(static_cast<float>(sum) * scales[j] * row_scales[r]);
    }
  }
}

void nearest(const std::int16_t* y, std::size_t rows, std::size_t stride, std::size_t width,
             const std::int16_t* book, const std::int32_t* half_norms, std::uint8_t* codes,
             std::size_t code_stride) {
  for (std::size_t r = 0; r < rows; ++r) {
    std::int32_t least = 0x7fffffff;
    for (std::size_t c = 0; c < kCentroids; ++c) {
      std::int32_t score = half_norms[c];
      for (std::size_t j = 0; j < width; ++j) {
        score += y[r * stride + j] * book[(j / 2 * kCentroids + c) * 2 + j % 2];
      }
      const std::int32_t key = centroid_key(score, static_cast<std::int32_t>(c));
      if (key < least) least = key;
    }
    codes[r * code_stride] = static_cast<std::uint8_t>(least & (kScoreUnit - 1));
  }
}

void table(const float* q, std::size_t width, const float* book, float* table) {
  for (std::size_t c = 0; c < kCentroids; ++c) table[c] = 0.0f;
  for (std::size_t j = 0; j < width; ++j) {
    for (std::size_t c = 0; c < kCentroids; ++c) table[c] += q[j] * book[j * kCentroids + c];
  }
}

void code_sums(const float* q, const CodePoints& points, const std::uint8_t* codes,
               std::size_t size, CodeSums& sums) {
  const bool with_lengths = points.cells != nullptr;
  for (std::size_t i = 0; i < kCodes; ++i, codes += size) {
    float products = 0, lengths = 0, cells = 0;
    const float* group = points.points;
    for (std::size_t g = 0; g < points.groups; ++g) {
      const float* own = q + points.offsets[g];
      const std::size_t width = points.offsets[g + 1] - points.offsets[g];
      const float* point = group + codes[g] * (width + 1);
      float product = 0;
      for (std::size_t j = 0; j < width; ++j) product += own[j] * point[j];
      products += product;
      if (with_lengths) {
        lengths += point[width];
        cells += points.cells[g * kCells + codes[g] / kCells];
      }
      group += kCentroids * (width + 1);
    }
    sums.products[i] = products;
    sums.lengths[i] = lengths;
    sums.cells[i] = cells;
  }
}

void scan(const std::uint8_t* planes, std::size_t blocks, std::size_t block_stride,
          const std::uint32_t* pairs, std::size_t count, const std::uint8_t* const* luts,
          std::size_t queries, std::uint16_t* sums) {
  constexpr std::size_t kHalf = kBlock / 2;
  for (std::size_t q = 0; q < queries; ++q) {
    for (std::size_t b = 0; b < blocks; ++b) {
      std::uint16_t* out = sums + (q * blocks + b) * kBlock;
      for (std::size_t v = 0; v < kBlock; ++v) out[v] = 0;
      for (std::size_t i = 0; i < 2 * count; ++i) {
        const std::uint8_t* lut = luts[q] + i * kCells;
        const std::uint8_t* group =
            planes + b * block_stride + pairs[i / 2] * kPairBytes + i % 2 * kHalf;
        for (std::size_t j = 0; j < kHalf; ++j) {
          out[j] = static_cast<std::uint16_t>(out[j] + lut[group[j] & 15]);
          out[j + kHalf] = static_cast<std::uint16_t>(out[j + kHalf] + lut[group[j] >> 4]);
        }
      }
    }
  }
}

void select(const std::uint16_t* sums, const std::uint8_t* scale, std::size_t blocks,
            const std::uint16_t* limits, std::uint32_t* masks) {
  for (std::size_t b = 0; b < blocks; ++b) {
    masks[b] = 0;
    for (std::size_t v = 0; v < kBlock; ++v) {
      const bool passes = sums[b * kBlock + v] >= limits[scale[b * kBlock + v] >> 4];
      masks[b] |= static_cast<std::uint32_t>(passes) << v;
    }
  }
}

void gram(const double* a, const double* b, std::size_t rows, std::size_t d, std::size_t first,
          std::size_t last, double* sums) {
  for (std::size_t i = first; i < last; ++i) {
    for (std::size_t j = i / 4 * 4; j < d; j += 4) {
      double sum[4] = {};
      for (std::size_t r = 0; r < rows; ++r) {
        for (std::size_t l = 0; l < 4; ++l) sum[l] += a[r * d + i] * b[r * d + j + l];
      }
      for (std::size_t l = 0; l < 4; ++l) sums[i * d + j + l] += sum[l];
    }
  }
}

}  // namespace

const Kernels& scalar_kernels() {
  static const Kernels kernels{.isa = "scalar",
                               .project = project,
                               .residual = residual,
                               .rotate_int16 = rotate_int16,
                               .rotate_int8 = rotate_int8,
                               .nearest = nearest,
                               .table = table,
                               .code_sums = code_sums,
                               .scan = scan,
                               .select = select,
                               .gram = gram,
                               .crc32c = scalar_crc32c,
                               .rows = scalar_row_kernels(),
                               .graph = scalar_graph_kernels(),
                               .coarse = scalar_coarse_kernels(),
                               .query = scalar_query_kernels()};
  return kernels;
}

}  // namespace waterfill
