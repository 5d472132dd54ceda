// Sums of full scores without tables: each instruction set gives what the scalar kernel and what
// tables give.
#include "kernel_check.hpp"

namespace waterfill {
namespace {

// Groups of random widths with the points and cells of their centroids.
struct Groups {
  std::vector<std::size_t> offsets{0};
  std::vector<float> books, points, cells;  // books: dimension by dimension, as for `table`

  Groups(Inputs& inputs, std::size_t count) {
    for (std::size_t g = 0; g < count; ++g) {
      const auto width = static_cast<std::size_t>(inputs.integer(1, 10));
      offsets.push_back(offsets.back() + width);
      const auto book = inputs.reals<float>(width * kCentroids);
      const auto lengths = inputs.reals<float>(kCentroids);
      books.insert(books.end(), book.begin(), book.begin() + width * kCentroids);
      for (std::size_t c = 0; c < kCentroids; ++c) {
        for (std::size_t j = 0; j < width; ++j) points.push_back(book[j * kCentroids + c]);
        points.push_back(lengths[c]);
      }
    }
    points.resize(points.size() + kPointPadding, 91);
    cells = inputs.reals<float>(count * kCells);
  }

  std::size_t count() const { return offsets.size() - 1; }
  CodePoints view(bool with_cells) const {
    return {points.data(), with_cells ? cells.data() : nullptr, offsets.data(), count()};
  }
};

std::vector<float> products_of(const CodeSums& sums) {
  return {sums.products, sums.products + kCodes};
}

std::vector<float> all_of(const CodeSums& sums) {
  std::vector<float> all = products_of(sums);
  all.insert(all.end(), sums.lengths, sums.lengths + kCodes);
  all.insert(all.end(), sums.cells, sums.cells + kCodes);
  return all;
}

// The products by way of a table for each group.
std::vector<float> from_tables(const Kernels& own, const Groups& groups, const float* q,
                               const std::uint8_t* codes, std::size_t size) {
  std::vector<float> sums(kCodes, 0.0f), table(kCentroids);
  for (std::size_t g = 0; g < groups.count(); ++g) {
    const std::size_t first = groups.offsets[g];
    own.table(q + first, groups.offsets[g + 1] - first, groups.books.data() + first * kCentroids,
              table.data());
    for (std::size_t i = 0; i < kCodes; ++i) sums[i] += table[codes[i * size + g]];
  }
  return sums;
}

}  // namespace

void check_code_sums(const Kernels& scalar, const Kernels& own) {
  Tally tally(own.isa, "code_sums"), tables(own.isa, "code_sums and tables");
  Inputs inputs(31);
  for (const std::size_t count : {1u, 2u, 15u, 16u, 17u, 40u}) {
    for (std::size_t times = 0; times < 20; ++times) {
      const Groups groups(inputs, count);
      const std::size_t size = count + times % 3;
      const auto q = inputs.reals<float>(groups.offsets.back());
      std::vector<std::uint8_t> codes(kCodes * size + kCodePadding);
      for (std::uint8_t& code : codes) code = static_cast<std::uint8_t>(inputs.integer(0, 255));
      for (const bool with_cells : {true, false}) {
        const CodePoints points = groups.view(with_cells);
        CodeSums expected{}, found{};
        scalar.code_sums(q.data(), points, codes.data(), size, expected);
        own.code_sums(q.data(), points, codes.data(), size, found);
        const auto values = with_cells ? all_of : products_of;
        tally.compare(values(expected), values(found), {{"groups", count}, {"times", times}});
      }
      CodeSums direct{};
      own.code_sums(q.data(), groups.view(false), codes.data(), size, direct);
      tables.compare(from_tables(own, groups, q.data(), codes.data(), size), products_of(direct),
                     {{"groups", count}, {"times", times}});
    }
  }
  tally.report();
  tables.report();
}

}  // namespace waterfill
