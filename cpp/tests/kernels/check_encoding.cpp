// Checks of the kernels that decide about codes: residual, rotations and nearest centroid.
#include <algorithm>

#include "kernel_check.hpp"

namespace waterfill {

void check_residual(const Kernels& scalar, const Kernels& own) {
  Tally tally(own.isa, "residual");
  Inputs inputs(9);
  for (std::size_t d : {1u, 2u, 3u, 5u, 8u, 15u, 16u, 17u, 31u, 32u, 33u, 127u, 384u, 1001u}) {
    for (int repeat = 0; repeat < 8; ++repeat) {
      const auto row = inputs.reals<float>(d), mean = inputs.reals<float>(d);
      // The difference, then the squares, then the largest values.
      auto expected = blank<float>(d + 2 * kParts), found = expected;
      for (const auto& [kernels, out] : {std::pair{&scalar, &expected}, std::pair{&own, &found}}) {
        kernels->residual(row.data(), mean.data(), d, out->data(), out->data() + d,
                          out->data() + d + kParts);
      }
      tally.compare(expected, found, {{"d", d}});
    }
  }
  tally.report();
}

namespace {

// The largest value whose `d` products with any 16-bit numbers add up within `bound`.
std::int64_t room(std::int64_t bound, std::size_t d) {
  return std::min(kLargest, bound / (static_cast<std::int64_t>(d) * -kLeast));
}

struct Rotation {
  std::vector<std::int16_t> x, w;
  std::vector<float> scales;
};

// Results of up to twice the largest, so that some are clipped at both ends.
Rotation random_rotation(Inputs& inputs, std::size_t rows, std::size_t d, std::size_t panels,
                         bool wide_x) {
  const std::int64_t most = room(0x7fffffff, d);
  Rotation made;
  made.x =
      inputs.integers<std::int16_t>(rows * d, wide_x ? kLeast : -most, wide_x ? kLargest : most);
  made.w = inputs.integers<std::int16_t>(panels * d * kPanel, wide_x ? -most : kLeast,
                                         wide_x ? most : kLargest);
  const double unit = 2.0 / static_cast<double>(static_cast<std::int64_t>(d) * most);
  made.scales = inputs.scales(panels * kPanel, unit);
  return made;
}

// Results halfway between two integers: small ones in odd rows, and ones near the clipping limit in
// even rows and columns, by a sum of 4 * x[0] + x[1].
Rotation tied_rotation(Inputs& inputs, std::size_t rows, std::size_t d, std::size_t panels) {
  Rotation made;
  made.x = inputs.integers<std::int16_t>(rows * d, -256, 256);
  made.w = inputs.integers<std::int16_t>(panels * d * kPanel, -256, 256);
  for (std::size_t r = 0; r < rows; r += 2) {
    const std::int64_t sum = inputs.integer(2 * kLargest - 4, 2 * kLargest + 4);
    for (std::size_t k = 0; k < d; ++k) made.x[r * d + k] = 0;
    made.x[r * d] = static_cast<std::int16_t>(sum / 4);
    made.x[r * d + 1] = static_cast<std::int16_t>(sum % 4);
  }
  for (std::size_t j = 0; j < panels * kPanel; ++j) {
    std::int16_t* column = &made.w[(j / kPanel * (d / 2) * kPanel + j % kPanel) * 2];
    if (j % 2 == 0) column[0] = 4, column[1] = 1;
    made.scales.push_back(inputs.integer(0, 1) != 0 ? 0.5f : -0.5f);
  }
  return made;
}

}  // namespace

void check_rotate_int16(const Kernels& scalar, const Kernels& own) {
  enum Kind : std::size_t { kWideX, kWideW, kHighest, kLowest, kTies, kKinds };
  Tally tally(own.isa, "rotate_int16");
  Inputs inputs(2);
  for (std::size_t rows : kRowCounts) {
    for (std::size_t d : {2u, 4u, 6u, 34u, 128u}) {
      for (std::size_t panels : {1u, 2u, 3u}) {
        for (std::size_t kind = 0; kind < kKinds; ++kind) {
          Rotation made = kind == kTies ? tied_rotation(inputs, rows, d, panels)
                                        : random_rotation(inputs, rows, d, panels, kind != kWideW);
          if (kind == kHighest || kind == kLowest) {  // sums at the limits of 32 bits
            const std::int64_t most = room(0x7fffffff, d);
            made.x.assign(made.x.size(), static_cast<std::int16_t>(kLeast));
            made.w.assign(made.w.size(),
                          static_cast<std::int16_t>(kind == kHighest ? -most : most));
          }
          auto expected = blank<std::int16_t>(rows * panels * kPanel), found = expected;
          scalar.rotate_int16(made.x.data(), rows, d, made.w.data(), made.scales.data(), panels,
                              expected.data());
          own.rotate_int16(made.x.data(), rows, d, made.w.data(), made.scales.data(), panels,
                           found.data());
          tally.compare(expected, found,
                        {{"rows", rows}, {"d", d}, {"panels", panels}, {"kind", kind}});
        }
      }
    }
  }
  tally.report();
}

namespace {

constexpr std::int64_t kMaxInt8 = 127;

struct Int8Rotation {
  std::vector<std::uint8_t> x;
  std::vector<std::int8_t> w;
  std::vector<std::int32_t> offsets;
  std::vector<float> scales, row_scales;
};

// Offsets up to the largest sum of d products, and results of several times the largest.
Int8Rotation random_int8_rotation(Inputs& inputs, std::size_t rows, std::size_t d,
                                  std::size_t panels) {
  const std::int64_t most = static_cast<std::int64_t>(d) * kMaxInt8 * kMaxInt8;
  Int8Rotation made;
  made.x = inputs.integers<std::uint8_t>(rows * d, 0, kMaxInt8);
  made.w = inputs.integers<std::int8_t>(panels * d * kPanel, -kMaxInt8, kMaxInt8);
  made.offsets = inputs.integers<std::int32_t>(panels * kPanel, -most, most);
  made.scales = inputs.scales(panels * kPanel, 1.0 / static_cast<double>(most));
  made.row_scales = inputs.scales(rows, 4.0 * static_cast<double>(kLargest));
  return made;
}

// Results halfway between two integers: small ones in odd columns, and in even columns ones near
// the clipping limit, by the offset; even rows add 0 to 8 to it.
Int8Rotation tied_int8_rotation(Inputs& inputs, std::size_t rows, std::size_t d,
                                std::size_t panels) {
  Int8Rotation made;
  made.x = inputs.integers<std::uint8_t>(rows * d, 0, 15);
  made.w = inputs.integers<std::int8_t>(panels * d * kPanel, -15, 15);
  for (std::size_t r = 0; r < rows; ++r) {
    if (r % 2 == 0) {
      for (std::size_t k = 0; k < d; ++k) made.x[r * d + k] = 0;
      made.x[r * d] = static_cast<std::uint8_t>(inputs.integer(0, 8));
    }
    made.row_scales.push_back(r % 2 == 0 || inputs.integer(0, 1) != 0 ? 1.0f : 0.5f);
  }
  for (std::size_t j = 0; j < panels * kPanel; ++j) {
    if (j % 2 == 0) made.w[(j / kPanel * (d / 4) * kPanel + j % kPanel) * 4] = 1;
    made.offsets.push_back(
        static_cast<std::int32_t>(j % 2 == 0 ? 4 - 2 * kLargest : inputs.integer(-64, 64)));
    made.scales.push_back(inputs.integer(0, 1) != 0 ? 0.5f : -0.5f);
  }
  return made;
}

}  // namespace

void check_rotate_int8(const Kernels& scalar, const Kernels& own) {
  enum Kind : std::size_t { kRandom, kHighest, kLowest, kTies, kKinds };
  Tally tally(own.isa, "rotate_int8");
  Inputs inputs(8);
  for (std::size_t rows : kRowCounts) {
    for (std::size_t d : {4u, 8u, 12u, 36u, 128u, 384u}) {
      for (std::size_t panels : {1u, 2u, 3u, 19u}) {
        for (std::size_t kind = 0; kind < kKinds; ++kind) {
          Int8Rotation made = kind == kTies ? tied_int8_rotation(inputs, rows, d, panels)
                                            : random_int8_rotation(inputs, rows, d, panels);
          if (kind == kHighest || kind == kLowest) {  // sums of two near the limits of 16 bits
            made.x.assign(made.x.size(), static_cast<std::uint8_t>(kMaxInt8));
            made.w.assign(made.w.size(),
                          static_cast<std::int8_t>(kind == kHighest ? kMaxInt8 : -kMaxInt8));
          }
          auto expected = blank<std::int16_t>(rows * panels * kPanel), found = expected;
          scalar.rotate_int8(made.x.data(), rows, d, made.w.data(), made.offsets.data(),
                             made.scales.data(), made.row_scales.data(), panels, expected.data());
          own.rotate_int8(made.x.data(), rows, d, made.w.data(), made.offsets.data(),
                          made.scales.data(), made.row_scales.data(), panels, found.data());
          tally.compare(expected, found,
                        {{"rows", rows}, {"d", d}, {"panels", panels}, {"kind", kind}});
        }
      }
    }
  }
  tally.report();
}

namespace {

// Copies some centroids to other numbers; with `near` their scores differ by about kScoreUnit.
void repeat_centroids(Inputs& inputs, std::size_t width, bool near, std::vector<std::int16_t>& book,
                      std::vector<std::int32_t>& half_norms) {
  for (int times = 0; times < 200; ++times) {
    const auto from = static_cast<std::size_t>(inputs.integer(0, kCentroids - 1));
    const auto to = static_cast<std::size_t>(inputs.integer(0, kCentroids - 1));
    for (std::size_t j = 0; j < width; ++j) {
      const std::size_t pair = j / 2 * kCentroids;
      book[(pair + to) * 2 + j % 2] = book[(pair + from) * 2 + j % 2];
    }
    const std::int64_t apart = near ? inputs.integer(-kScoreUnit, kScoreUnit) : 0;
    half_norms[to] = static_cast<std::int32_t>(half_norms[from] + apart);
  }
}

struct Search {
  std::vector<std::int16_t> y, book;
  std::vector<std::int32_t> half_norms;
};

enum SearchKind : std::size_t {
  kWideY,
  kWideBook,
  kTies,
  kNearTies,
  kEqual,
  kHighest,
  kLowest,
  kSearchKinds
};

// values: of y. Products use half of the range of a score, norms the other half.
Search random_search(Inputs& inputs, std::size_t values, std::size_t width, std::size_t kind) {
  constexpr std::int64_t kHalf = 1 << 30;
  const std::int64_t most = room(kHalf, width);
  Search made;
  if (kind == kWideBook) {
    made.y = inputs.integers<std::int16_t>(values, -most, most);
    made.book = inputs.integers<std::int16_t>(width * kCentroids, kLeast, kLargest);
  } else {
    made.y = inputs.integers<std::int16_t>(values, kLeast, kLargest);
    made.book = inputs.integers<std::int16_t>(width * kCentroids, -most, most);
  }
  made.half_norms = inputs.integers<std::int32_t>(kCentroids, 0, kHalf - 1);
  if (kind == kTies || kind == kNearTies) {  // small values: floors of scores are often equal
    for (std::int16_t& value : made.y) value = static_cast<std::int16_t>(value / 1024);
    for (std::int32_t& norm : made.half_norms) norm %= 4 * kScoreUnit;
    repeat_centroids(inputs, width, kind == kNearTies, made.book, made.half_norms);
  } else if (kind == kEqual) {
    made.book.assign(made.book.size(), made.book[0]);
    made.half_norms.assign(kCentroids, made.half_norms[0]);
  } else if (kind == kHighest || kind == kLowest) {  // scores at the limits of 32 bits
    const std::int64_t sign = kind == kHighest ? 1 : -1;
    const std::int64_t rest = 0x7fffffff + static_cast<std::int64_t>(width) * kLeast * most;
    made.y.assign(values, static_cast<std::int16_t>(kLeast));
    made.book.assign(made.book.size(), static_cast<std::int16_t>(-sign * most));
    const int spread = kind == kHighest ? kScoreUnit - 1 : 2 * kScoreUnit;  // equal at the top
    for (std::int32_t& norm : made.half_norms) {
      norm = static_cast<std::int32_t>(sign * (rest - inputs.integer(0, spread)));
    }
    made.half_norms.back() = static_cast<std::int32_t>(sign * rest);
  }
  return made;
}

}  // namespace

void check_nearest(const Kernels& scalar, const Kernels& own) {
  Tally tally(own.isa, "nearest");
  Inputs inputs(3);
  for (std::size_t rows : kRowCounts) {
    for (std::size_t width : {2u, 4u, 6u, 8u, 10u, 12u, 14u}) {
      for (std::size_t kind = 0; kind < kSearchKinds; ++kind) {
        const std::size_t stride = width + static_cast<std::size_t>(inputs.integer(0, 3));
        const auto code_stride = static_cast<std::size_t>(inputs.integer(1, 5));
        const std::size_t values = rows == 0 ? 0 : (rows - 1) * stride + width;
        const Search made = random_search(inputs, values, width, kind);
        auto expected = blank<std::uint8_t>(rows * code_stride), found = expected;
        scalar.nearest(made.y.data(), rows, stride, width, made.book.data(), made.half_norms.data(),
                       expected.data(), code_stride);
        own.nearest(made.y.data(), rows, stride, width, made.book.data(), made.half_norms.data(),
                    found.data(), code_stride);
        tally.compare(expected, found,
                      {{"rows", rows},
                       {"width", width},
                       {"stride", stride},
                       {"code_stride", code_stride},
                       {"kind", kind}});
      }
    }
  }
  tally.report();
}

}  // namespace waterfill
