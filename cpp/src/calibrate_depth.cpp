#include "calibrate.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "coarse.hpp"
#include "kernels.hpp"
#include "score_blocks.hpp"
#include "waterfill/index.hpp"

namespace waterfill {
namespace {

constexpr double kWanted = 0.995;  // share of the full score's ten that must be found

// What turns products into one metric's scores, for every base row.
class MetricScores {
 public:
  MetricScores(const Codec& codec, Metric metric, const std::vector<std::uint8_t>& codes)
      : metric_(metric), euclidean_(metric == Metric::l2) {
    const CodecParams& p = codec.params();
    const Alpha alpha = euclidean_ ? p.alpha_l2 : p.alpha_ip;
    for (std::size_t at = 0; at < codes.size(); at += codec.code_size()) {
      const std::uint8_t* code = codes.data() + at;
      const float cell = codec.squared_cell_length(code);
      const float rho = codec.distance_from_mean(code[codec.groups()], cell);
      squared_rho_.push_back(rho * rho);
      full_.push_back(rho / length_power(codec.squared_length(code), alpha));
      coarse_.push_back(rho / length_power(cell, alpha));
    }
  }

  Metric metric() const { return metric_; }

  // Scores of rows [first, first + n) from products with the query and with the mean.
  void full(const float* query, const float* mean, std::size_t first, std::size_t n,
            float* scores) const {
    from_products(full_, query, mean, first, n, scores);
  }
  void coarse(const float* query, const float* mean, std::size_t first, std::size_t n,
              float* scores) const {
    from_products(coarse_, query, mean, first, n, scores);
  }

 private:
  void from_products(const std::vector<float>& scale, const float* query, const float* mean,
                     std::size_t first, std::size_t n, float* scores) const {
    const float *s = scale.data() + first, *squares = squared_rho_.data() + first;
    if (euclidean_) {
      for (std::size_t i = 0; i < n; ++i) scores[i] = 2 * s[i] * (query[i] - mean[i]) - squares[i];
    } else {
      for (std::size_t i = 0; i < n; ++i) scores[i] = s[i] * query[i];
    }
  }

  Metric metric_;
  bool euclidean_;
  std::vector<float> squared_rho_, full_, coarse_;
};

// Products of queries with the base rows as they decode, whole and plane by plane. The mean is one
// more query, the last.
class DepthTrial {
 public:
  DepthTrial(const Codec& codec, const Rows& base, const Rows& queries)
      : codec_(codec),
        n_(base.n),
        queries_(queries.n),
        projected_(project_with_mean(codec, queries)),
        codes_(base.n * codec.code_size()),
        coarse_((queries.n + 1) * base.n, 0.0f) {
    codec.encode(base, codes_.data());
  }

  const std::vector<std::uint8_t>& codes() const { return codes_; }

  // The ten nearest by the full score: for each metric, of each query.
  std::vector<std::vector<Top>> tops(const std::vector<MetricScores>& metrics) const {
    std::vector<Reservoir> best(metrics.size() * queries_, Reservoir(kNearest));
    const std::size_t p = codec_.transform().p();
    std::vector<float> directions(kBlockRows * p);
    for_blocks(n_, [&](std::size_t first, std::size_t n) {
      codec_.decode_directions(codes_.data() + first * codec_.code_size(), n, directions.data());
      const Products products(projected_, p, n,
                              [&](std::size_t k, std::size_t i) { return directions[i * p + k]; });
      parallel_for(best.size(), [&](std::size_t task) {
        std::array<float, kBlockRows> scores;
        metrics[task / queries_].full(products.of_query(task % queries_),
                                      products.of_query(queries_), first, n, scores.data());
        offer_all(best[task], scores.data(), n, first);
      });
    });
    std::vector<std::vector<Top>> result(metrics.size());
    for (std::size_t i = 0; i < best.size(); ++i) result[i / queries_].push_back(top_of(best[i]));
    return result;
  }

  // Adds the planes of some pairs of groups to the coarse products.
  void add_planes(const std::uint32_t* pairs, std::size_t count) {
    std::vector<std::size_t> dims, groups;
    for (std::size_t i = 0; i < count; ++i) append_dims(pairs[i], dims, groups);
    const std::size_t width = dims.size(), p = codec_.transform().p();
    std::vector<float> part;
    for (std::size_t q = 0; q <= queries_; ++q) {
      for (const std::size_t j : dims) part.push_back(projected_[q * p + j]);
    }
    for_blocks(n_, [&](std::size_t first, std::size_t n) {
      const Products products(part, width, n, [&](std::size_t k, std::size_t i) {
        const std::uint8_t byte = codes_[(first + i) * codec_.code_size() + groups[k]];
        return codec_.params().codebooks.cells[dims[k] * kCells + byte / kCells];
      });
      for (std::size_t q = 0; q <= queries_; ++q) {
        float* sums = coarse_.data() + q * n_ + first;
        const float* values = products.of_query(q);
        for (std::size_t i = 0; i < n; ++i) sums[i] += values[i];
      }
    });
  }

  // Candidates that the coarse stage must hand on for enough of all tens to survive.
  std::size_t candidates_for(const MetricScores& metric, const std::vector<Top>& tops) const {
    std::vector<std::size_t> ranks(queries_ * kNearest, 0);
    parallel_for(queries_, [&](std::size_t q) {
      std::vector<float> scores(n_);
      metric.coarse(coarse_.data() + q * n_, coarse_.data() + queries_ * n_, 0, n_, scores.data());
      for (std::size_t t = 0; t < tops[q].size(); ++t) {
        const float own = scores[tops[q][t]];
        std::uint32_t above = 0;
        for (const float score : scores) above += score > own ? 1u : 0u;
        ranks[q * kNearest + t] = above;
      }
    });
    std::sort(ranks.begin(), ranks.end());
    const double last = std::ceil(kWanted * static_cast<double>(ranks.size())) - 1;
    return ranks[static_cast<std::size_t>(last)] + 1;
  }

 private:
  void append_dims(std::uint32_t pair, std::vector<std::size_t>& dims,
                   std::vector<std::size_t>& groups) const {
    std::size_t j = 0;
    for (std::size_t g = 0; g < codec_.groups(); ++g) {
      for (const std::size_t end = j + codec_.params().shapes[g].width; j < end; ++j) {
        if (g / 2 != pair) continue;
        dims.push_back(j);
        groups.push_back(g);
      }
    }
  }

  const Codec& codec_;
  std::size_t n_, queries_;
  std::vector<float> projected_;  // queries_ + 1 rows
  std::vector<std::uint8_t> codes_;
  std::vector<float> coarse_;  // products: queries_ + 1 rows of n_
};

// Nanoseconds, roughly, of a search in 500,000 vectors; only the proportions matter.
double cost_of(const Codec& codec, const Depth& depth) {
  constexpr double kVectors = 5e5, kPlane = 0.014, kCandidate = 150, kGroup = 2;
  const auto groups = static_cast<double>(codec.groups());
  return kVectors * kPlane * depth.scan_groups +
         kNearest * depth.refine_factor * (kCandidate + kGroup * groups);
}

double survivors(const IndexFlat& index, const Rows& queries, const Depth& depth,
                 const std::vector<Top>& tops) {
  std::vector<float> distances(queries.n * kNearest);
  std::vector<std::int64_t> labels(queries.n * kNearest);
  index.search(queries, {kNearest, kNearest * depth.refine_factor, depth.scan_groups},
               distances.data(), labels.data());
  std::size_t hits = 0, all = 0;
  for (std::size_t q = 0; q < queries.n; ++q) {
    const auto first = labels.begin() + static_cast<std::ptrdiff_t>(q * kNearest);
    Top found;
    for (auto label = first; label != first + kNearest; ++label) {
      if (*label >= 0) found.push_back(static_cast<std::uint32_t>(*label));
    }
    std::sort(found.begin(), found.end());
    hits += overlap(found, tops[q]);
    all += tops[q].size();
  }
  return static_cast<double>(hits) / static_cast<double>(all);
}

// Raises the refine factor until enough survive.
Depth deepen(const IndexFlat& index, const Rows& queries, const std::vector<Top>& tops,
             Depth depth) {
  while (kNearest * depth.refine_factor < index.size() &&
         survivors(index, queries, depth, tops) < kWanted) {
    depth.refine_factor += (depth.refine_factor + 7) / 8;
  }
  return depth;
}

// The ten nearest by the full score alone, for scores that are no products.
std::vector<Top> searched_tops(const IndexFlat& index, const Rows& queries) {
  std::vector<float> distances(queries.n * kNearest);
  std::vector<std::int64_t> labels(queries.n * kNearest);
  index.search(queries, {kNearest, index.size(), 0}, distances.data(), labels.data());
  std::vector<Top> tops(queries.n);
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] >= 0) tops[i / kNearest].push_back(static_cast<std::uint32_t>(labels[i]));
  }
  for (Top& top : tops) std::sort(top.begin(), top.end());
  return tops;
}

// Scores of the published kind are no products: every number of candidates is searched with.
Depth published_depth(const std::shared_ptr<const Codec>& codec, const Rows& base,
                      const Rows& queries) {
  constexpr std::size_t kRows = 16384;  // all of them are scored in full
  const std::size_t n = std::min(kRows, base.n);
  std::vector<std::uint8_t> codes(n * codec->code_size());
  codec->encode({base.data, n, base.d}, codes.data());
  IndexFlat index(codec, codec->params().normalize ? Metric::cosine : Metric::inner_product);
  index.append(codes.data(), n);
  const Depth start{5, static_cast<std::uint32_t>(codec->groups())};
  return deepen(index, queries, searched_tops(index, queries), start);
}

}  // namespace

Depths calibrate_depths(const std::shared_ptr<const Codec>& codec, const Rows& base,
                        const Rows& queries) {
  const CodecParams& params = codec->params();
  if (params.pq_multiplier > 0) return {published_depth(codec, base, queries), {}};
  DepthTrial trial(*codec, base, queries);
  std::vector<MetricScores> metrics;
  metrics.emplace_back(*codec, params.normalize ? Metric::cosine : Metric::inner_product,
                       trial.codes());
  if (!params.normalize) metrics.emplace_back(*codec, Metric::l2, trial.codes());
  const std::vector<std::vector<Top>> tops = trial.tops(metrics);

  // Planes are worth leaving out of long codes only: short ones have no group that tells little.
  constexpr std::size_t kLongCode = 64;
  const std::vector<double> shares =
      codec->groups() < kLongCode ? std::vector{1.0} : std::vector{0.5, 0.75, 1.0};
  const std::vector<std::uint32_t> pairs = pairs_by_contribution(*codec);
  std::vector<Depth> best(metrics.size());
  std::vector<double> least(metrics.size(), std::numeric_limits<double>::infinity());
  std::size_t scanned = 0;
  for (const double share : shares) {
    const auto end = static_cast<std::size_t>(std::ceil(share * static_cast<double>(pairs.size())));
    if (end == scanned) continue;
    trial.add_planes(pairs.data() + scanned, end - scanned);
    scanned = end;
    for (std::size_t m = 0; m < metrics.size(); ++m) {
      const std::size_t candidates = trial.candidates_for(metrics[m], tops[m]);
      const Depth depth{static_cast<std::uint32_t>((candidates + kNearest - 1) / kNearest),
                        static_cast<std::uint32_t>(std::min(2 * scanned, codec->groups()))};
      const double cost = cost_of(*codec, depth);
      if (cost < least[m]) best[m] = depth;
      least[m] = std::min(least[m], cost);
    }
  }
  for (std::size_t m = 0; m < metrics.size(); ++m) {  // the scan's tables are bytes
    IndexFlat index(codec, metrics[m].metric());
    index.append(trial.codes().data(), base.n);
    best[m] = deepen(index, queries, tops[m], best[m]);
  }
  return {best.front(), best.back()};
}

}  // namespace waterfill
