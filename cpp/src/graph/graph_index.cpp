#include "waterfill/graph/graph_index.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <utility>

#include "waterfill/core/interruption.hpp"
#include "waterfill/core/row_validation.hpp"
#include "waterfill/core/thread_pool.hpp"

namespace waterfill {
namespace {

constexpr float kLargest = std::numeric_limits<float>::max();

float clipped(double value) {
  return static_cast<float>(std::clamp(value, -double{kLargest}, double{kLargest}));
}

// A query's coordinates, and what turns the scores of the graph into those of the metric.
class Query {
 public:
  Query(const GraphSpace& space, Metric metric, const float* x)
      : euclidean_(metric == Metric::l2), y_(space.d()) {
    space.rotate({x, 1, space.d()}, y_.data());
    double squares = 0, product = 0;
    for (std::size_t k = 0; k < space.d(); ++k) {
      squares += static_cast<double>(y_[k]) * y_[k];
      product += static_cast<double>(x[k]) * space.mean()[k];
    }
    constant_ = euclidean_ ? squares : product;
    require(squares <= kLargest, "x has a query that is too long for float32");
  }

  const float* y() const { return y_.data(); }
  float distance(float score) const {
    if (euclidean_) return clipped(std::max(constant_ - 2 * static_cast<double>(score), 0.0));
    return clipped(constant_ + static_cast<double>(score));
  }
  // The score that a distance stands for.
  float score(float distance) const {
    const double own = static_cast<double>(distance);
    return static_cast<float>(euclidean_ ? (constant_ - own) / 2 : own - constant_);
  }

 private:
  bool euclidean_;
  std::vector<float> y_;
  double constant_ = 0;
};

std::optional<Bits> allowed_by(const Selector* selector, const Ids& ids) {
  if (selector == nullptr) return std::nullopt;
  return selector->of(ids);
}

const Bits* pointer(const std::optional<Bits>& bits) {
  return bits.has_value() ? &*bits : nullptr;
}

}  // namespace

GraphIndex::GraphIndex(GraphSpace space, Metric metric, std::size_t links)
    : metric_(metric), d_(space.d()), links_(links), graph_(std::move(space), metric, links) {}

GraphIndex::~GraphIndex() = default;

std::size_t GraphIndex::bytes_per_vector() const {
  return graph_.rows().row_bytes() + links_ * sizeof(std::uint32_t);
}

std::size_t GraphIndex::bytes() const {
  const std::shared_lock lock(locks_.state);
  return graph_.bytes() + ids_.bytes();
}

void GraphIndex::changed() noexcept {
  lookup_.reset();
  size_ = graph_.size();
  has_ids_ = ids_.is_explicit();
  ++version_;
}

const Ids::Lookup& GraphIndex::lookup() const {
  const std::unique_lock own(locks_.caches);
  if (lookup_ == nullptr) lookup_ = std::make_unique<Ids::Lookup>(ids_);
  return *lookup_;
}

float GraphIndex::worst() const {
  return metric_ == Metric::l2 ? kLargest : -kLargest;
}

void GraphIndex::append(const Rows& x, const std::int64_t* ids, std::size_t effort) {
  require_dimensions(x, "x", d_);
  require_finite(x, "x", 0);
  require(effort >= 1, "efConstruction must be at least 1");
  if (x.n == 0) return;
  const std::unique_lock lock(locks_.state);
  require(x.n <= kMostGraphRows - graph_.size(), "the index would have too many vectors");
  const Ids::Checkpoint before = ids_.checkpoint();
  ids_.append(x.n, ids);
  try {
    graph_.add(x, effort);
  } catch (...) {
    ids_.restore(before);
    throw;
  }
  changed();
}

std::size_t GraphIndex::remove(const Selector& selector) {
  const std::unique_lock lock(locks_.state);
  const Bits drop = selector.of(ids_);
  const std::size_t before = graph_.size();
  if (std::all_of(drop.begin(), drop.end(), [](std::uint64_t word) { return word == 0; })) return 0;
  graph_.remove(drop);
  ids_.remove(drop);
  changed();
  return before - graph_.size();
}

void GraphIndex::keep_ids() {
  const std::unique_lock lock(locks_.state);
  ids_.keep();
  changed();
}

void GraphIndex::raise_next_id(std::int64_t next) {
  const std::unique_lock lock(locks_.state);
  ids_.raise_next(next);
  changed();
}

void GraphIndex::reset() {
  const std::unique_lock lock(locks_.state);
  graph_.clear();
  ids_.clear();
  changed();
}

void GraphIndex::search(const Rows& queries, std::size_t k, std::size_t effort,
                        const Selector* selector, float* distances, std::int64_t* ids) const {
  require_dimensions(queries, "x", d_);
  require_finite(queries, "x", 0);
  require(k >= 1, "k must be at least 1");
  const std::shared_lock lock(locks_.state);
  const std::optional<Bits> allowed = allowed_by(selector, ids_);
  constexpr std::size_t kTask = 4;
  parallel_for((queries.n + kTask - 1) / kTask, [&](std::size_t task) {
    for (std::size_t i = task * kTask; i < std::min(queries.n, (task + 1) * kTask); ++i) {
      const Query query(graph_.rows().space(), metric_, queries.row(i));
      const std::vector<GraphResult> found = graph_.search(query.y(), k, effort, pointer(allowed));
      for (std::size_t j = 0; j < k; ++j) {
        const bool exists = j < found.size();
        distances[i * k + j] = exists ? query.distance(found[j].score) : worst();
        ids[i * k + j] = exists ? ids_[found[j].row] : -1;
      }
    }
  });
}

RangeResult GraphIndex::range_search(const Rows& queries, float radius,
                                     const Selector* selector) const {
  require_dimensions(queries, "x", d_);
  require_finite(queries, "x", 0);
  const std::shared_lock lock(locks_.state);
  const std::optional<Bits> allowed = allowed_by(selector, ids_);
  std::vector<RangeResult> results(queries.n);
  parallel_for(queries.n, [&](std::size_t i) {
    const Query query(graph_.rows().space(), metric_, queries.row(i));
    // Scores that round to the radius are told apart by their distances.
    const float about = query.score(radius);
    const float threshold = about - 1e-5f * (std::abs(about) + std::abs(radius));
    for (const GraphResult& one : graph_.search_above(query.y(), threshold, pointer(allowed))) {
      const float distance = query.distance(one.score);
      if (!(metric_ == Metric::l2 ? distance < radius : distance > radius)) continue;
      results[i].distances.push_back(distance);
      results[i].ids.push_back(ids_[one.row]);
    }
  });
  RangeResult all;
  all.limits.push_back(0);
  for (const RangeResult& one : results) {
    all.distances.insert(all.distances.end(), one.distances.begin(), one.distances.end());
    all.ids.insert(all.ids.end(), one.ids.begin(), one.ids.end());
    all.limits.push_back(all.ids.size());
  }
  return all;
}

void GraphIndex::find(const std::int64_t* ids, std::size_t n, std::int64_t* labels,
                      float* vectors) const {
  const std::shared_lock lock(locks_.state);
  std::vector<float> y(d_);
  for (std::size_t i = 0; i < n; ++i) {
    labels[i] = -1;
    if (ids_.is_explicit()) {
      lookup().each(ids[i], [&](std::size_t label) {
        labels[i] = static_cast<std::int64_t>(label);
        return true;
      });
    } else if (ids[i] >= 0 && static_cast<std::uint64_t>(ids[i]) < ids_.size()) {
      labels[i] = ids[i];
    }
    if (labels[i] < 0) continue;
    graph_.rows().decode(static_cast<std::size_t>(labels[i]), y.data());
    graph_.rows().space().restore(y.data(), 1, vectors + i * d_);
  }
}

void GraphIndex::require_range(std::size_t first, std::size_t n) const {
  require(first <= graph_.size() && n <= graph_.size() - first, "the range exceeds the index");
}

void GraphIndex::vectors(std::size_t first, std::size_t n, float* out) const {
  const std::shared_lock lock(locks_.state);
  require_range(first, n);
  std::vector<float> y(d_);
  for (std::size_t i = 0; i < n; ++i) {
    graph_.rows().decode(first + i, y.data());
    graph_.rows().space().restore(y.data(), 1, out + i * d_);
  }
}

void GraphIndex::ids(std::size_t first, std::size_t n, std::int64_t* out) const {
  const std::shared_lock lock(locks_.state);
  require_range(first, n);
  for (std::size_t i = 0; i < n; ++i) out[i] = ids_[first + i];
}

std::vector<std::int64_t> GraphIndex::links_of(std::size_t label) const {
  const std::shared_lock lock(locks_.state);
  require_range(label, 1);
  const auto begin = graph_.link_array().begin() + static_cast<std::ptrdiff_t>(label * links_);
  const auto end = std::find(begin, begin + static_cast<std::ptrdiff_t>(links_), kNoLink);
  return {begin, end};
}

}  // namespace waterfill
