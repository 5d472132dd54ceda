#include "training/codebook_training.hpp"

#include <algorithm>
#include <array>
#include <map>

#include "training/kmeans.hpp"
#include "waterfill/codec/fixed_point.hpp"
#include "waterfill/core/interruption.hpp"
#include "waterfill/core/thread_pool.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kCellSize = kCentroids / kCells;

// The product of two centroids per dimension. Bit 7 is the first dimension of the group, so the
// high nibble holds four dimensions and is a coarse code already. Bits without a dimension are 0.
std::vector<float> binary_book(const Rows& y) {
  std::vector<float> book(y.d * kCentroids);
  for (std::size_t j = 0; j < y.d; ++j) {
    double border = 0;
    std::array<double, 2> centroid{};
    for (int step = 0; step < 10; ++step) {
      std::array<double, 2> sum{}, count{};
      for (std::size_t i = 0; i < y.n; ++i) {
        const bool upper = y.row(i)[j] > border;
        sum[upper] += y.row(i)[j];
        count[upper] += 1;
      }
      for (std::size_t s = 0; s < 2; ++s) {
        centroid[s] = count[s] > 0 ? sum[s] / count[s] : border;
      }
      border = (centroid[0] + centroid[1]) / 2;
    }
    for (std::size_t c = 0; c < kCentroids; ++c) {
      book[j * kCentroids + c] = static_cast<float>(centroid[(c >> (7 - j)) & 1]);
    }
  }
  return book;
}

Rows gather(const Rows& y, std::size_t offset, std::size_t width, std::vector<float>& own) {
  own.resize(y.n * width);
  for (std::size_t i = 0; i < y.n; ++i) {
    std::copy_n(y.row(i) + offset, width, own.data() + i * width);
  }
  return {own.data(), y.n, width};
}

// Means of the centroids of each cell, weighted by their training rows.
void cell_means(const std::vector<float>& book, std::size_t width,
                const std::vector<std::uint64_t>& counts, float* cells) {
  for (std::size_t j = 0; j < width; ++j) {
    for (std::size_t h = 0; h < kCells; ++h) {
      double sum = 0, weight = 0;
      for (std::size_t i = h * kCellSize; i < (h + 1) * kCellSize; ++i) {
        const double w = static_cast<double>(counts[i]) + 1e-3;
        sum += w * book[j * kCentroids + i];
        weight += w;
      }
      cells[j * kCells + h] = static_cast<float>(sum / weight);
    }
  }
}

void set_book(const std::vector<float>& book, const std::vector<std::uint64_t>& counts,
              std::size_t offset, Codebooks& result) {
  std::copy(book.begin(), book.end(),
            result.books.begin() + static_cast<std::ptrdiff_t>(offset * kCentroids));
  cell_means(book, book.size() / kCentroids, counts, result.cells.data() + offset * kCells);
}

// The first column of each group, and the number of columns.
std::vector<std::size_t> offsets_of(const std::vector<Shape>& shapes) {
  std::vector<std::size_t> offsets{0};
  for (const Shape& shape : shapes) offsets.push_back(offsets.back() + shape.width);
  return offsets;
}

Codebooks empty_codebooks(std::size_t columns) {
  return {Aligned<float>(columns * kCentroids), Aligned<float>(columns * kCells)};
}

// Fills the column of a second byte: the coordinate minus the centroid that its first byte chooses.
void subtract_first_byte(std::vector<float>& y, std::size_t stride, const SecondByte& second,
                         const float* book) {
  const std::size_t n = y.size() / stride;
  std::vector<float> values(n);
  std::vector<std::uint8_t> codes(n);
  for (std::size_t i = 0; i < n; ++i) values[i] = y[i * stride + second.first_column];
  Int16Codebook(book, 1).nearest({values.data(), n, 1}, codes.data());
  for (std::size_t i = 0; i < n; ++i) y[i * stride + second.column] = values[i] - book[codes[i]];
}

}  // namespace

Codebooks train_codebooks(std::vector<float>& y, const std::vector<Shape>& shapes,
                          const std::vector<SecondByte>& second_bytes, std::uint64_t seed,
                          int iterations) {
  const std::vector<std::size_t> offsets = offsets_of(shapes);
  const std::size_t total = offsets.back();
  Codebooks result = empty_codebooks(total);
  const auto train = [&](std::size_t g) {
    const std::size_t width = shapes[g].width, offset = offsets[g];
    std::vector<float> own;
    const Rows part = gather({y.data(), y.size() / total, total}, offset, width, own);
    if (shapes[g].kind == GroupKind::binary) {
      const std::vector<std::uint64_t> counts(kCentroids, 1);
      set_book(binary_book(part), counts, offset, result);
    } else {
      const KMeans run = kmeans(part, seed + g, iterations);
      set_book(run.book(), run.counts(), offset, result);
    }
    count_work(kCodebookWork / shapes.size());
  };
  // Groups with a second byte come first: the others include those of the second bytes.
  std::vector<std::size_t> first, rest;
  for (std::size_t g = 0; g < shapes.size(); ++g) {
    const bool has_second =
        std::any_of(second_bytes.begin(), second_bytes.end(),
                    [&](const SecondByte& byte) { return byte.first_column == offsets[g]; });
    (has_second ? first : rest).push_back(g);
  }
  parallel_for(first.size(), [&](std::size_t i) { train(first[i]); });
  parallel_for(second_bytes.size(), [&](std::size_t i) {
    subtract_first_byte(y, total, second_bytes[i],
                        result.books.data() + second_bytes[i].first_column * kCentroids);
  });
  parallel_for(rest.size(), [&](std::size_t i) { train(rest[i]); });
  return result;
}

Codebooks train_shared_codebooks(const std::vector<float>& y, const std::vector<Shape>& shapes,
                                 std::uint64_t seed, int iterations) {
  constexpr std::size_t kMostRows = 65536;  // of a codebook, from one group after the other
  const std::size_t total = offsets_of(shapes).back();
  const Rows rows{y.data(), y.size() / total, total};
  Codebooks result = empty_codebooks(total);
  std::map<std::uint32_t, std::size_t> trained;  // by width: the column of the first group
  std::size_t offset = 0;
  for (std::size_t g = 0; g < shapes.size(); offset += shapes[g++].width) {
    const std::size_t width = shapes[g].width;
    float* book = result.books.data() + offset * kCentroids;
    float* cells = result.cells.data() + offset * kCells;
    const auto [known, is_new] = trained.try_emplace(shapes[g].width, offset);
    if (!is_new) {
      std::copy_n(result.books.data() + known->second * kCentroids, width * kCentroids, book);
      std::copy_n(result.cells.data() + known->second * kCells, width * kCells, cells);
      continue;
    }
    std::vector<float> pool, own;
    std::size_t column = offset;
    for (std::size_t other = g; other < shapes.size(); column += shapes[other++].width) {
      if (shapes[other].width != width || pool.size() >= kMostRows * width) continue;
      gather(rows, column, width, own);
      pool.insert(pool.end(), own.begin(), own.end());
    }
    const Rows part{pool.data(), std::min(pool.size() / width, kMostRows), width};
    const KMeans run = kmeans(part, seed, iterations);
    set_book(run.book(), run.counts(), offset, result);
  }
  return result;
}

CodebookTraining::CodebookTraining(const std::vector<Shape>& shapes, std::size_t n,
                                   std::uint64_t seed, int iterations)
    : offsets_(offsets_of(shapes)), result_(empty_codebooks(offsets_.back())) {
  for (std::size_t g = 0; g < shapes.size(); ++g) {
    require(shapes[g].kind == GroupKind::vector, "binary groups are trained on the CPU");
    runs_.emplace_back(shapes[g].width, n, seed + g, iterations);
  }
}

void CodebookTraining::start(const Groups& groups, const std::vector<ValueRange>& ranges,
                             const Rows& seeds,
                             const std::vector<std::vector<std::uint32_t>>& histograms) {
  parallel_for(groups.size(), [&](std::size_t i) {
    KMeans& run = runs_[groups[i]];
    if (run.width() == 1) return run.start(ranges[i], histograms[i]);
    std::vector<float> own;
    run.start(ranges[i], gather(seeds, offsets_[groups[i]], run.width(), own));
  });
}

CodebookTraining::Groups CodebookTraining::next(const Groups& groups) const {
  Groups some;
  std::size_t step = 0;
  for (const std::uint32_t g : groups) {
    if (!runs_[g].done()) step = std::max(step, runs_[g].row_step());
  }
  for (const std::uint32_t g : groups) {
    if (!runs_[g].done() && runs_[g].row_step() == step) some.push_back(g);
  }
  return some;
}

std::vector<Int16Codebook> CodebookTraining::books(const Groups& groups) const {
  const std::vector<float> none(kCentroids);
  std::vector<Int16Codebook> books(groups.size(), Int16Codebook(none.data(), 1));
  parallel_for(groups.size(), [&](std::size_t i) {
    const KMeans& run = runs_[groups[i]];
    books[i] = Int16Codebook(run.book().data(), run.width());
  });
  return books;
}

void CodebookTraining::update(const Groups& groups, std::vector<CentroidSums> sums) {
  parallel_for(groups.size(), [&](std::size_t i) {
    runs_[groups[i]].update(std::move(sums[i]));
    keep_if_done(groups[i]);
  });
}

void CodebookTraining::repair(std::size_t group, const std::vector<float>& rows) {
  runs_[group].repair(rows);
}

void CodebookTraining::keep_if_done(std::size_t group) {
  const KMeans& run = runs_[group];
  if (run.done()) set_book(run.book(), run.counts(), offsets_[group], result_);
}

}  // namespace waterfill
