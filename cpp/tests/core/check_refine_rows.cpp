// RefineRows compared with rows in a std::vector: contents, rejected rows and scores.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "core/random.hpp"
#include "core_check.hpp"
#include "waterfill/index/refine_rows.hpp"

namespace waterfill {
namespace {

constexpr RowKind kKinds[] = {RowKind::float32, RowKind::float16, RowKind::int8};
constexpr float kMost = std::numeric_limits<float>::max();

struct Plain {  // rows of d values
  std::size_t d;
  std::vector<float> values;

  std::size_t size() const { return values.size() / d; }
  Rows rows() const { return {values.data(), size(), d}; }
};

// Rows of very different norms, some constant.
Plain random_rows(Random& random, std::size_t n, std::size_t d) {
  Plain made{d, std::vector<float>(n * d)};
  for (std::size_t i = 0; i < n; ++i) {
    const double length = std::exp(12 * random.uniform() - 6);
    for (std::size_t k = 0; k < d; ++k) {
      const double u = i % 7 == 6 ? 0.3 : 2 * random.uniform() - 0.5;
      made.values[i * d + k] = static_cast<float>(length * u);
    }
  }
  return made;
}

double allowed_error(RowKind kind, const float* row, std::size_t d) {
  const auto [least, largest] = std::minmax_element(row, row + d);
  const double size = std::max(std::fabs(*least), std::fabs(*largest));
  if (kind == RowKind::float32) return 0;
  if (kind == RowKind::float16) return size / 2048 + 3e-8;
  return (static_cast<double>(*largest) - *least) / 508 + size * 3e-7 + 1e-44;
}

void expect_near(const RefineRows& rows, const Plain& plain) {
  expect(rows.size() == plain.size(), "RefineRows: a wrong size");
  std::vector<float> found(plain.d);
  for (std::size_t i = 0; i < plain.size(); ++i) {
    const float* row = plain.values.data() + i * plain.d;
    const double allowed = allowed_error(rows.kind(), row, plain.d);
    rows.read(i, found.data());
    for (std::size_t k = 0; k < plain.d; ++k) {
      expect(std::fabs(static_cast<double>(found[k]) - row[k]) <= allowed,
             std::string("RefineRows: ") + row_kind_name(rows.kind()) + " row " +
                 std::to_string(i) + " is not what was appended");
    }
  }
}

void expect_same_score(float found, double expected, double terms, const char* what) {
  expect(std::fabs(found - expected) <= 4e-6 * terms + 1e-30, what);
}

void expect_scores(const RefineRows& rows, Random& random) {
  const std::size_t d = rows.d(), n = std::min<std::size_t>(rows.size(), 50);
  const Plain query = random_rows(random, 1, d);
  std::vector<std::uint32_t> labels(n);
  for (auto& label : labels) label = static_cast<std::uint32_t>(random.next() % rows.size());
  const std::vector<std::int64_t> numbers(labels.begin(), labels.end());
  std::vector<float> row(d), found(n), again(n);
  for (const bool euclidean : {false, true}) {
    rows.score(query.values.data(), euclidean, labels.data(), n, found.data());
    rows.score(query.values.data(), euclidean, numbers.data(), n, again.data());
    expect(found == again, "RefineRows: scores depend on the type of the numbers");
    for (std::size_t i = 0; i < n; ++i) {
      rows.read(labels[i], row.data());
      double sum = 0, terms = 0;
      for (std::size_t k = 0; k < d; ++k) {
        const double q = query.values[k], x = row[k];
        sum += euclidean ? (q - x) * (q - x) : q * x;
        terms += euclidean ? q * q + x * x : std::fabs(q * x);
      }
      expect_same_score(found[i], sum, terms, "RefineRows: a wrong score");
    }
  }
}

RefineRows filled(RowKind kind, const Plain& plain) {
  RefineRows rows(kind, plain.d);
  rows.append(plain.rows());
  return rows;
}

void drop_random(RefineRows& rows, Plain& plain, Random& random) {
  std::vector<std::uint64_t> drop((plain.size() + 63) / 64, 0);
  std::vector<float> kept;
  const std::uint64_t share = 1 + random.next() % 4;
  for (std::size_t i = 0; i < plain.size(); ++i) {
    const auto row = plain.values.begin() + static_cast<std::ptrdiff_t>(i * plain.d);
    if (random.next() % 4 < share) {
      drop[i / 64] |= std::uint64_t{1} << i % 64;
    } else {
      kept.insert(kept.end(), row, row + static_cast<std::ptrdiff_t>(plain.d));
    }
  }
  rows.remove(drop);
  plain.values = kept;
}

// Sizes around whole segments, by append, remove, truncate and merge.
void check_sequences(RowKind kind, Random& random) {
  constexpr std::size_t kSizes[] = {0,
                                    1,
                                    5,
                                    1000,
                                    RefineRows::kCapacity - 1,
                                    RefineRows::kCapacity,
                                    RefineRows::kCapacity + 1,
                                    2 * RefineRows::kCapacity + 77};
  const auto some = [&](std::size_t d) {
    return random_rows(random, kSizes[random.next() % std::size(kSizes)], d);
  };
  for (int repeat = 0; repeat < 4; ++repeat) {
    const std::size_t d = 1 + random.next() % 3;
    RefineRows rows(kind, d);
    Plain plain{d, {}};
    for (int times = 0; times < 8; ++times) {
      const Plain more = some(d);
      if (plain.size() > 5 * RefineRows::kCapacity || times % 4 == 3) {
        if (random.next() % 2 == 0) {
          drop_random(rows, plain, random);
        } else {
          const std::size_t n = random.next() % (plain.size() + 10);
          rows.truncate(n);
          plain.values.resize(std::min(n * d, plain.values.size()));
        }
      } else {
        if (random.next() % 2 == 0) {
          rows.append(more.rows());
        } else {
          RefineRows other = filled(kind, more);
          rows.merge(std::move(other));
          expect(other.size() == 0, "RefineRows: merge leaves rows behind");
        }
        plain.values.insert(plain.values.end(), more.values.begin(), more.values.end());
      }
      expect_near(rows, plain);
      const std::size_t tight = plain.size() * row_bytes(kind, d);
      expect(rows.bytes() <=
                 tight + std::min(tight, RefineRows::kCapacity * row_bytes(kind, d)) / 16 + 1024,
             "RefineRows: too much memory to spare");
    }
  }
}

void check_scores(RowKind kind, Random& random) {
  for (std::size_t d : {1u, 7u, 31u, 32u, 33u, 100u, 384u, 3000u}) {
    expect_scores(filled(kind, random_rows(random, 90, d)), random);
  }
}

// A round trip through a file, and borrowed rows with gaps, in reverse order, at an odd address.
void check_copies(RowKind kind, Random& random) {
  const Plain plain = random_rows(random, RefineRows::kCapacity + 100, 3);
  const RefineRows rows = filled(kind, plain);
  std::vector<std::uint8_t> file;
  const std::size_t size = row_bytes(kind, 3);
  for (std::size_t row = 0; row < rows.size(); row += rows.contiguous(row)) {
    const std::uint8_t* bytes = rows.stored(row);
    file.insert(file.end(), bytes, bytes + rows.contiguous(row) * size);
  }
  expect(file.size() == plain.size() * size, "RefineRows: segments of a wrong size");
  RefineRows loaded(kind, 3);
  std::size_t done = 0;
  loaded.load(plain.size(), [&](std::uint8_t* bytes, std::size_t count) {
    std::memcpy(bytes, file.data() + done, count);
    done += count;
  });
  expect_near(loaded, plain);
  expect(loaded.first_nonfinite() == loaded.size(), "RefineRows: finite rows are doubted");

  const std::size_t stride = size + 5, n = 200;
  std::vector<std::uint8_t> spread(1 + n * stride);
  for (std::size_t i = 0; i < n; ++i) {
    std::memcpy(spread.data() + 1 + (n - 1 - i) * stride, file.data() + i * size, size);
  }
  const BorrowedRows backwards{spread.data() + 1 + (n - 1) * stride, n,
                               -static_cast<std::ptrdiff_t>(stride)};
  RefineRows borrowed = RefineRows::borrow(kind, 3, backwards);
  expect(borrowed.bytes() == 0 && borrowed.borrowed(), "RefineRows: borrowed rows take memory");
  Plain first{3, plain.values};
  first.values.resize(n * 3);
  expect_near(borrowed, first);
  expect_scores(borrowed, random);
  expect_throw<std::logic_error>([&] { borrowed.append(plain.rows()); }, "appending to borrowed");
}

void check_refusals() {
  for (const RowKind kind : kKinds) {
    Plain plain{2, {1, 2, 3, 4, 5, 6}};
    RefineRows rows = filled(kind, plain);
    Plain bad{2, {1, 1, 1, std::nanf(""), 1, 1}};
    const std::string message = expect_throw<InvalidArgument>(
        [&] { rows.append(bad.rows(), "vectors", 10); }, "a row with a NaN");
    expect(message.find("vectors: row 11 ") == 0, "RefineRows: the row is not named: " + message);
    bad = Plain{3, {1, 2, 3}};
    expect_throw<InvalidArgument>([&] { rows.append(bad.rows()); }, "a row of another d");
    expect_throw<InvalidArgument>([&] { rows.merge(RefineRows(kind, 3)); }, "rows of another d");
    expect_near(rows, plain);
  }
  RefineRows halves = filled(RowKind::float16, Plain{1, {65504, -65519.99f, 1e-30f}});
  float value = 0;
  halves.read(1, &value);
  expect(value == -65504, "RefineRows: 65519.99 is not rounded to the largest half");
  const Plain large{1, {1, -65520}};
  const std::string message = expect_throw<InvalidArgument>(
      [&] { halves.append(large.rows(), "x", 3); }, "a value beyond float16");
  expect(message.find("x: row 4 has a value of size 65520,") == 0,
         "RefineRows: the value is not named: " + message);
  expect(halves.size() == 3, "RefineRows: a refused row is kept");
}

// Sums beyond float32, and rows that are not finite.
void check_limits() {
  for (const RowKind kind : {RowKind::float32, RowKind::int8}) {
    const Plain plain{2, {kMost, -kMost, kMost, kMost, kMost, 0, 1e-44f, 0, 0, 0}};
    const RefineRows rows = filled(kind, plain);
    expect_near(rows, plain);
    const std::uint32_t labels[] = {0, 1, 2, 3, 4};
    const float query[] = {2, -2};
    float found[5];
    rows.score(query, false, labels, 5, found);
    expect(found[0] == kMost && std::fabs(found[1]) < 1e33f && found[2] == kMost && found[4] == 0,
           "RefineRows: a product beyond float32 is wrong");
    rows.score(query, true, labels, 5, found);
    expect(found[0] == kMost && found[1] == kMost && found[4] == 8,
           "RefineRows: a distance beyond float32 is wrong");
  }
  const float values[] = {1, 2, std::numeric_limits<float>::infinity(), 1, 1, std::nanf("")};
  const RefineRows bad = RefineRows::borrow(RowKind::float32, 2, {values, 3, 8});
  expect(bad.first_nonfinite() == 1 && bad.first_nonfinite(2) == 2,
         "RefineRows: a row that is not finite passes");
  const std::int64_t numbers[] = {0, 1, 2};
  const float query[] = {1, 1};
  float found[3];
  bad.score(query, false, numbers, 3, found);
  expect(found[0] == 3 && found[1] == -kMost && found[2] == -kMost,
         "RefineRows: a row that is not finite is not the worst");
  bad.score(query, true, numbers, 3, found);
  expect(found[0] == 1 && found[1] == kMost && found[2] == kMost,
         "RefineRows: a row that is not finite is not the furthest");
}

}  // namespace

void check_refine_rows() {
  Random random(2);
  for (const RowKind kind : kKinds) check_sequences(kind, random);
  check_refusals();
  std::printf("RefineRows: agrees with std::vector\n");
}

void check_refine_scores(const char* isa) {
  Random random(3);
  for (const RowKind kind : kKinds) {
    check_scores(kind, random);
    check_copies(kind, random);
  }
  check_limits();
  std::printf("RefineRows: correct scores with %s\n", isa);
}

}  // namespace waterfill
