#include "training/codebook_training.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <numeric>

#include "core/random.hpp"
#include "kernels.hpp"
#include "training/kmeans.hpp"
#include "waterfill/codec/fixed_point.hpp"
#include "waterfill/core/interruption.hpp"
#include "waterfill/core/thread_pool.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kCellSize = kCentroids / kCells;

// Divides 256 weighted points into 16 cells of 16 points by exchanging pairs. Every exchange
// reduces the weighted sum of squared distances to the means of the cells.
class BalancedCells {
 public:
  BalancedCells(const std::vector<float>& book, std::size_t width,
                const std::vector<std::uint64_t>& counts)
      : width_(width), points_(kCentroids * width), means_(kCells * width, 0.0) {
    for (std::size_t c = 0; c < kCentroids; ++c) {
      for (std::size_t j = 0; j < width; ++j) points_[c * width + j] = book[j * kCentroids + c];
      weight_[c] = static_cast<double>(counts[c]) + 1e-3;
    }
  }

  void improve(std::uint64_t seed) {
    start(seed);
    for (int pass = 0; pass < 30; ++pass) {
      move_means();
      if (!exchange_pairs()) break;
    }
    move_means();
  }

  double cost() const {
    double sum = 0;
    for (std::size_t c = 0; c < kCentroids; ++c) sum += cost_in(c, cell_[c]);
    return sum;
  }

  const std::array<std::size_t, kCentroids>& cells() const { return cell_; }

 private:
  double cost_in(std::size_t c, std::size_t cell) const {
    double sum = 0;
    for (std::size_t j = 0; j < width_; ++j) {
      const double gap = points_[c * width_ + j] - means_[cell * width_ + j];
      sum += gap * gap;
    }
    return weight_[c] * sum;
  }

  // k-means++ seeds, then each point into the best cell with room, in the order of regret.
  void start(std::uint64_t seed) {
    Random random(seed);
    std::array<double, kCentroids> distance;
    distance.fill(std::numeric_limits<double>::infinity());
    std::size_t chosen = static_cast<std::size_t>(random.next() % kCentroids);
    for (std::size_t cell = 0; cell < kCells; ++cell) {
      std::copy_n(points_.begin() + static_cast<std::ptrdiff_t>(chosen * width_), width_,
                  means_.begin() + static_cast<std::ptrdiff_t>(cell * width_));
      double total = 0;
      for (std::size_t c = 0; c < kCentroids; ++c) {
        distance[c] = std::min(distance[c], cost_in(c, cell));
        total += distance[c];
      }
      double left = random.uniform() * total;
      for (std::size_t c = 0; c < kCentroids; ++c) {
        if (distance[c] <= 0) continue;
        chosen = c;
        left -= distance[c];
        if (left < 0) break;
      }
    }
    fill();
  }

  void fill() {
    std::vector<std::size_t> order(kCentroids);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::array<double, kCentroids> regret;
    for (std::size_t c = 0; c < kCentroids; ++c) {
      double best = std::numeric_limits<double>::infinity(), worst = 0;
      for (std::size_t cell = 0; cell < kCells; ++cell) {
        best = std::min(best, cost_in(c, cell));
        worst = std::max(worst, cost_in(c, cell));
      }
      regret[c] = worst - best;
    }
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return regret[a] > regret[b]; });
    std::array<std::size_t, kCells> room;
    room.fill(kCellSize);
    for (const std::size_t c : order) {
      std::size_t best = kCells;
      for (std::size_t cell = 0; cell < kCells; ++cell) {
        if (room[cell] > 0 && (best == kCells || cost_in(c, cell) < cost_in(c, best))) best = cell;
      }
      cell_[c] = best;
      --room[best];
    }
  }

  void move_means() {
    std::fill(means_.begin(), means_.end(), 0.0);
    std::array<double, kCells> weight{};
    for (std::size_t c = 0; c < kCentroids; ++c) {
      weight[cell_[c]] += weight_[c];
      for (std::size_t j = 0; j < width_; ++j) {
        means_[cell_[c] * width_ + j] += weight_[c] * points_[c * width_ + j];
      }
    }
    for (std::size_t i = 0; i < means_.size(); ++i) means_[i] /= weight[i / width_];
  }

  bool exchange_pairs() {
    std::vector<double> costs(kCentroids * kCells);
    for (std::size_t c = 0; c < kCentroids; ++c) {
      for (std::size_t cell = 0; cell < kCells; ++cell) costs[c * kCells + cell] = cost_in(c, cell);
    }
    bool changed = false;
    for (std::size_t a = 0; a < kCentroids; ++a) {
      for (std::size_t b = a + 1; b < kCentroids; ++b) {
        if (cell_[a] == cell_[b]) continue;
        const double current = costs[a * kCells + cell_[a]] + costs[b * kCells + cell_[b]];
        const double exchanged = costs[a * kCells + cell_[b]] + costs[b * kCells + cell_[a]];
        if (exchanged < current * (1 - 1e-9)) {
          std::swap(cell_[a], cell_[b]);
          changed = true;
        }
      }
    }
    return changed;
  }

  std::size_t width_;
  std::vector<double> points_, means_;
  std::array<double, kCentroids> weight_{};
  std::array<std::size_t, kCentroids> cell_{};
};

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

std::vector<float> vector_book(const Rows& y, std::uint64_t seed, int iterations,
                               std::vector<std::uint64_t>& counts) {
  const Clustering clusters = kmeans(y, seed, iterations);
  const std::vector<std::uint32_t> order = coarse_order(clusters.book, y.d, clusters.counts);
  std::vector<float> book(clusters.book.size());
  counts.resize(kCentroids);
  for (std::size_t c = 0; c < kCentroids; ++c) {
    counts[c] = clusters.counts[order[c]];
    for (std::size_t j = 0; j < y.d; ++j) {
      book[j * kCentroids + c] = clusters.book[j * kCentroids + order[c]];
    }
  }
  // If rows have few distinct values some centroids are equal, and encoding may choose another of
  // them than k-means did.
  if (std::find(counts.begin(), counts.end(), 0u) != counts.end()) {
    std::vector<std::uint8_t> codes(y.n);
    Int16Codebook(book.data(), y.d).nearest(y, codes.data());
    std::fill(counts.begin(), counts.end(), 0u);
    for (const std::uint8_t code : codes) ++counts[code];
  }
  return book;
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

}  // namespace

std::vector<std::uint32_t> coarse_order(const std::vector<float>& book, std::size_t width,
                                        const std::vector<std::uint64_t>& counts) {
  constexpr std::uint64_t kStarts = 3;
  std::vector<std::uint32_t> order(kCentroids);
  std::iota(order.begin(), order.end(), 0u);
  if (width == 1) {  // in one dimension neighbors are adjacent
    std::stable_sort(order.begin(), order.end(),
                     [&](std::uint32_t a, std::uint32_t b) { return book[a] < book[b]; });
    return order;
  }
  double best = std::numeric_limits<double>::infinity();
  std::array<std::size_t, kCentroids> cells{};
  for (std::uint64_t start = 0; start < kStarts; ++start) {
    BalancedCells candidate(book, width, counts);
    candidate.improve(start);
    if (candidate.cost() < best) {
      best = candidate.cost();
      cells = candidate.cells();
    }
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return cells[a] < cells[b]; });
  return order;
}

namespace {

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
  std::vector<std::size_t> offsets;
  std::size_t total = 0;
  for (const Shape& shape : shapes) {
    offsets.push_back(total);
    total += shape.width;
  }
  Codebooks result{Aligned<float>(total * kCentroids), Aligned<float>(total * kCells)};
  const auto train = [&](std::size_t g) {
    const std::size_t width = shapes[g].width, offset = offsets[g];
    std::vector<float> own;
    const Rows part = gather({y.data(), y.size() / total, total}, offset, width, own);
    std::vector<std::uint64_t> counts(kCentroids, 1);
    const std::vector<float> book = shapes[g].kind == GroupKind::binary
                                        ? binary_book(part)
                                        : vector_book(part, seed + g, iterations, counts);
    std::copy(book.begin(), book.end(),
              result.books.begin() + static_cast<std::ptrdiff_t>(offset * kCentroids));
    cell_means(book, width, counts, result.cells.data() + offset * kCells);
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
  std::size_t total = 0;
  for (const Shape& shape : shapes) total += shape.width;
  const Rows rows{y.data(), y.size() / total, total};
  Codebooks result{Aligned<float>(total * kCentroids), Aligned<float>(total * kCells)};
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
    std::vector<std::uint64_t> counts(kCentroids, 1);
    const Rows part{pool.data(), std::min(pool.size() / width, kMostRows), width};
    const std::vector<float> values = vector_book(part, seed, iterations, counts);
    std::copy(values.begin(), values.end(), book);
    cell_means(values, width, counts, cells);
  }
  return result;
}

}  // namespace waterfill
