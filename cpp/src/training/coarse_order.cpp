#include "training/coarse_order.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>

#include "core/random.hpp"
#include "waterfill/core/constants.hpp"

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

}  // namespace waterfill
