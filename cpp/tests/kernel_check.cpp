// Does every instruction set agree with the scalar kernels, bit for bit? Needs no test framework
// and no Python, so it also runs under an emulator of another CPU:
//     kernel_check [name of an instruction set]...
// checks the named sets (one that the machine lacks is an error), or all that the machine runs.
// One line per set and kernel; at the first difference a message and exit status 1.
//
// Inputs have exactly the size that the contracts in kernels.hpp name, so that a sanitizer sees a
// kernel read past them; outputs are longer and are compared to the end, so that a write past them
// is a difference.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "dispatch.hpp"
#include "kernels.hpp"
#include "random.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kRowCounts[] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 64};
constexpr std::size_t kBlockCounts[] = {0, 1, 2, 31, 32, 33};
constexpr std::size_t kSlack = 16;  // values behind an output that no kernel may touch
constexpr std::int64_t kLeast = -32768, kLargest = 32767;  // of 16-bit inputs

// The inputs of one kernel: the same for every instruction set, on every machine.
class Inputs {
 public:
  explicit Inputs(std::uint64_t seed) : random_(seed) {}

  std::int64_t integer(std::int64_t low, std::int64_t high) {  // both included
    return low +
           static_cast<std::int64_t>(random_.next() % static_cast<std::uint64_t>(high - low + 1));
  }

  template <typename T>
  std::vector<T> integers(std::size_t n, std::int64_t low, std::int64_t high) {
    std::vector<T> values(n);
    for (T& value : values) value = static_cast<T>(integer(low, high));
    return values;
  }

  // Of both signs and very different sizes, so that another order of the terms, or a product that
  // is not rounded, shows; zeros of both signs and denormal numbers among them.
  template <typename T>
  std::vector<T> reals(std::size_t n) {
    std::vector<T> values(n);
    for (T& value : values) {
      value = static_cast<T>(2 * random_.uniform() - 1);
      const std::int64_t kind = integer(0, 15);
      if (kind == 0) value *= T{0};
      if (kind == 1) value *= std::numeric_limits<T>::min();
      if (kind == 2) value *= T{1 << 20};
    }
    return values;
  }

  std::vector<float> scales(std::size_t n, double largest) {  // hundredths of it, of both signs
    std::vector<float> values(n);
    for (float& value : values) {
      const auto percent = static_cast<double>(integer(-100, 100));
      value = static_cast<float>(largest * percent / 100);
    }
    return values;
  }

 private:
  Random random_;
};

using Name = std::vector<std::pair<const char*, std::size_t>>;  // of a case: its sizes

// Counts the cases of one kernel and stops at the first that differs.
class Tally {
 public:
  Tally(const char* isa, const char* kernel) : title_(std::string(isa) + " " + kernel) {}

  template <typename T>
  void compare(const std::vector<T>& expected, const std::vector<T>& found, const Name& name) {
    ++cases_;
    const std::size_t bytes = expected.size() * sizeof(T);
    if (std::memcmp(expected.data(), found.data(), bytes) == 0) return;
    std::string text = title_ + " differs from scalar:";
    for (const auto& [key, value] : name) {
      text += std::string(" ") + key + "=" + std::to_string(value);
    }
    std::size_t i = 0;
    while (std::memcmp(&expected[i], &found[i], sizeof(T)) == 0) ++i;
    char values[128];
    std::snprintf(values, sizeof values, "; output %zu of %zu is %.17g, not %.17g", i,
                  expected.size() - kSlack, static_cast<double>(found[i]),
                  static_cast<double>(expected[i]));
    throw std::runtime_error(text + values);
  }

  void report() const { std::printf("%s: %d cases agree\n", title_.c_str(), cases_); }

 private:
  std::string title_;
  int cases_ = 0;
};

// An output before a kernel has run: nothing that one writes.
template <typename T>
std::vector<T> blank(std::size_t n) {
  return std::vector<T>(n + kSlack, static_cast<T>(91));
}

void check_project(const Kernels& scalar, const Kernels& own) {
  Tally tally(own.isa, "project");
  Inputs inputs(1);
  for (std::size_t rows : kRowCounts) {
    for (std::size_t d : {1u, 2u, 3u, 5u, 8u, 33u, 127u}) {
      for (std::size_t panels : {1u, 2u, 3u}) {
        const auto x = inputs.reals<float>(rows * d);
        const auto w = inputs.reals<float>(panels * d * kPanel);
        auto expected = blank<float>(rows * panels * kPanel), found = expected;
        scalar.project(x.data(), rows, d, w.data(), panels, expected.data());
        own.project(x.data(), rows, d, w.data(), panels, found.data());
        tally.compare(expected, found, {{"rows", rows}, {"d", d}, {"panels", panels}});
      }
    }
  }
  tally.report();
}

void check_centre(const Kernels& scalar, const Kernels& own) {
  Tally tally(own.isa, "centre");
  Inputs inputs(9);
  for (std::size_t d : {1u, 2u, 3u, 5u, 8u, 15u, 16u, 17u, 31u, 32u, 33u, 127u, 384u, 1001u}) {
    for (int repeat = 0; repeat < 8; ++repeat) {
      const auto row = inputs.reals<float>(d), mean = inputs.reals<float>(d);
      // The shifted row, then the squares, then the largest values.
      auto expected = blank<float>(d + 2 * kParts), found = expected;
      for (const auto& [kernels, out] : {std::pair{&scalar, &expected}, std::pair{&own, &found}}) {
        kernels->centre(row.data(), mean.data(), d, out->data(), out->data() + d,
                        out->data() + d + kParts);
      }
      tally.compare(expected, found, {{"d", d}});
    }
  }
  tally.report();
}

// The largest value whose `d` products with any 16-bit numbers add up within `bound`.
std::int64_t room(std::int64_t bound, std::size_t d) {
  return std::min(kLargest, bound / (static_cast<std::int64_t>(d) * -kLeast));
}

struct Rotation {
  std::vector<std::int16_t> x, w;
  std::vector<float> scales;
};

// Results of up to twice the largest, so that some are cut off at both ends.
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

// Results that lie halfway between two integers: small ones in odd rows, and in even rows (and even
// columns) those around the cut, by a sum of 4 * x[0] + x[1].
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

void check_rotate(const Kernels& scalar, const Kernels& own) {
  enum Kind : std::size_t { kWideX, kWideW, kHighest, kLowest, kTies, kKinds };
  Tally tally(own.isa, "rotate");
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
          scalar.rotate(made.x.data(), rows, d, made.w.data(), made.scales.data(), panels,
                        expected.data());
          own.rotate(made.x.data(), rows, d, made.w.data(), made.scales.data(), panels,
                     found.data());
          tally.compare(expected, found,
                        {{"rows", rows}, {"d", d}, {"panels", panels}, {"kind", kind}});
        }
      }
    }
  }
  tally.report();
}

constexpr std::int64_t kMostShort = 127;

struct ShortRotation {
  std::vector<std::uint8_t> x;
  std::vector<std::int8_t> w;
  std::vector<std::int32_t> offsets;
  std::vector<float> scales, row_scales;
};

// Offsets are as large as d products can be, and results several times the largest.
ShortRotation random_short_rotation(Inputs& inputs, std::size_t rows, std::size_t d,
                                    std::size_t panels) {
  const std::int64_t most = static_cast<std::int64_t>(d) * kMostShort * kMostShort;
  ShortRotation made;
  made.x = inputs.integers<std::uint8_t>(rows * d, 0, kMostShort);
  made.w = inputs.integers<std::int8_t>(panels * d * kPanel, -kMostShort, kMostShort);
  made.offsets = inputs.integers<std::int32_t>(panels * kPanel, -most, most);
  made.scales = inputs.scales(panels * kPanel, 1.0 / static_cast<double>(most));
  made.row_scales = inputs.scales(rows, 4.0 * static_cast<double>(kLargest));
  return made;
}

// Results that lie halfway between two integers: small ones in odd columns, and in even columns
// those around the cut, by the offset; rows that are even too add 0 to 8 to that.
ShortRotation tied_short_rotation(Inputs& inputs, std::size_t rows, std::size_t d,
                                  std::size_t panels) {
  ShortRotation made;
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

void check_rotate_short(const Kernels& scalar, const Kernels& own) {
  enum Kind : std::size_t { kRandom, kHighest, kLowest, kTies, kKinds };
  Tally tally(own.isa, "rotate_short");
  Inputs inputs(8);
  for (std::size_t rows : kRowCounts) {
    for (std::size_t d : {4u, 8u, 12u, 36u, 128u, 384u}) {
      for (std::size_t panels : {1u, 2u, 3u}) {
        for (std::size_t kind = 0; kind < kKinds; ++kind) {
          ShortRotation made = kind == kTies ? tied_short_rotation(inputs, rows, d, panels)
                                             : random_short_rotation(inputs, rows, d, panels);
          if (kind == kHighest || kind == kLowest) {  // sums of two near the limits of 16 bits
            made.x.assign(made.x.size(), static_cast<std::uint8_t>(kMostShort));
            made.w.assign(made.w.size(),
                          static_cast<std::int8_t>(kind == kHighest ? kMostShort : -kMostShort));
          }
          auto expected = blank<std::int16_t>(rows * panels * kPanel), found = expected;
          scalar.rotate_short(made.x.data(), rows, d, made.w.data(), made.offsets.data(),
                              made.scales.data(), made.row_scales.data(), panels, expected.data());
          own.rotate_short(made.x.data(), rows, d, made.w.data(), made.offsets.data(),
                           made.scales.data(), made.row_scales.data(), panels, found.data());
          tally.compare(expected, found,
                        {{"rows", rows}, {"d", d}, {"panels", panels}, {"kind", kind}});
        }
      }
    }
  }
  tally.report();
}

// Some centroids again under other numbers; `near` sets them apart by about what a score counts.
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

// `values` of y. Products take half of a score's range, norms the other half.
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

void check_table(const Kernels& scalar, const Kernels& own) {
  Tally tally(own.isa, "table");
  Inputs inputs(4);
  for (std::size_t width = 0; width <= 64; ++width) {
    const auto q = inputs.reals<float>(width), book = inputs.reals<float>(width * kCentroids);
    auto expected = blank<float>(kCentroids), found = expected;
    scalar.table(q.data(), width, book.data(), expected.data());
    own.table(q.data(), width, book.data(), found.data());
    tally.compare(expected, found, {{"width", width}});
  }
  tally.report();
}

void check_scan(const Kernels& scalar, const Kernels& own) {
  enum Kind : std::size_t { kInOrder, kRepeated, kAllLargest, kKinds };
  Tally tally(own.isa, "scan");
  Inputs inputs(5);
  for (std::size_t blocks : kBlockCounts) {
    // 512 entries of 127 nearly fill 16 bits.
    for (std::size_t count : {4u, 8u, 12u, 24u, 48u, 256u}) {
      for (std::size_t queries = 1; queries <= kScanQueries; ++queries) {
        for (std::size_t kind = 0; kind < kKinds; ++kind) {
          const std::size_t held = kind == kRepeated ? 5 : count;  // pairs of a block
          const std::size_t stride =
              held * kPairBytes + static_cast<std::size_t>(inputs.integer(0, 40));
          const std::size_t bytes = blocks == 0 ? 0 : (blocks - 1) * stride + held * kPairBytes;
          const auto planes = inputs.integers<std::uint8_t>(bytes, 0, 255);
          auto pairs = inputs.integers<std::uint32_t>(count, 0, static_cast<int>(held) - 1);
          if (kind == kInOrder) {
            for (std::size_t i = 0; i < count; ++i) pairs[i] = static_cast<std::uint32_t>(i);
          }
          const auto luts = inputs.integers<std::uint8_t>(
              queries * count * 2 * kCells, kind == kAllLargest ? kMaxEntry : 0, kMaxEntry);
          auto expected = blank<std::uint16_t>(queries * blocks * kBlock), found = expected;
          scalar.scan(planes.data(), blocks, stride, pairs.data(), count, luts.data(), queries,
                      expected.data());
          own.scan(planes.data(), blocks, stride, pairs.data(), count, luts.data(), queries,
                   found.data());
          tally.compare(expected, found,
                        {{"blocks", blocks},
                         {"stride", stride},
                         {"count", count},
                         {"queries", queries},
                         {"kind", kind}});
        }
      }
    }
  }
  tally.report();
}

void check_select(const Kernels& scalar, const Kernels& own) {
  enum Kind : std::size_t { kRandom, kNear, kZero, kMost, kBoth, kKinds };
  Tally tally(own.isa, "select");
  Inputs inputs(6);
  for (std::size_t blocks : kBlockCounts) {
    for (std::size_t kind = 0; kind < kKinds; ++kind) {
      for (std::size_t times = 0; times < 20; ++times) {
        const std::size_t n = blocks * kBlock;
        const auto scale = inputs.integers<std::uint8_t>(n, 0, 255);
        auto sums = inputs.integers<std::uint16_t>(n, 0, 65535);
        auto limits = inputs.integers<std::uint16_t>(kLimits, 0, 65535);
        if (kind == kZero || kind == kMost) limits.assign(kLimits, kind == kZero ? 0 : 65535);
        if (kind == kBoth) {
          for (auto& limit : limits) limit = static_cast<std::uint16_t>(-inputs.integer(0, 1));
        }
        if (kind != kRandom) {  // each sum at its limit or beside it, wrapping
          for (std::size_t v = 0; v < n; ++v) {
            sums[v] = static_cast<std::uint16_t>(limits[scale[v] / 16] + inputs.integer(-1, 1));
          }
        }
        auto expected = blank<std::uint32_t>(blocks), found = expected;
        scalar.select(sums.data(), scale.data(), blocks, limits.data(), expected.data());
        own.select(sums.data(), scale.data(), blocks, limits.data(), found.data());
        tally.compare(expected, found, {{"blocks", blocks}, {"kind", kind}, {"times", times}});
      }
    }
  }
  tally.report();
}

void check_gram(const Kernels& scalar, const Kernels& own) {
  Tally tally(own.isa, "gram");
  Inputs inputs(7);
  for (std::size_t rows : kRowCounts) {
    for (std::size_t d : {4u, 8u, 12u, 20u}) {
      for (std::size_t first = 0; first <= d; ++first) {
        for (std::size_t last = first; last <= d; ++last) {
          const auto a = inputs.reals<double>(rows * d), b = inputs.reals<double>(rows * d);
          auto expected = inputs.reals<double>(d * d + kSlack), found = expected;
          scalar.gram(a.data(), b.data(), rows, d, first, last, expected.data());
          own.gram(a.data(), b.data(), rows, d, first, last, found.data());
          tally.compare(expected, found,
                        {{"rows", rows}, {"d", d}, {"first", first}, {"last", last}});
        }
      }
    }
  }
  tally.report();
}

void check(const std::string& isa) {
  select_isa(isa);
  const Kernels& scalar = scalar_kernels();
  const Kernels& own = kernels();
  for (auto* part : {check_project, check_centre, check_rotate, check_rotate_short, check_nearest,
                     check_table, check_scan, check_select, check_gram}) {
    part(scalar, own);
    std::fflush(stdout);
  }
}

}  // namespace
}  // namespace waterfill

int main(int count, char** arguments) {
  try {
    std::vector<std::string> isas(arguments + 1, arguments + count);
    if (isas.empty()) isas = waterfill::available_isas();
    for (const std::string& isa : isas) waterfill::check(isa);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "kernel_check: %s\n", error.what());
    return 1;
  }
}
