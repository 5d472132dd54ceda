#include "training/calibration.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <limits>

#include "kernels.hpp"
#include "search/coarse_tables.hpp"
#include "training/calibration_scores.hpp"
#include "waterfill/index/index.hpp"

namespace waterfill {
namespace {

// Share of the true neighbours among the full score's ten that must be found. Others among them
// are no loss.
constexpr double kWanted = 0.998;
// What is enough where more would cost more than three times as many candidates.
constexpr double kEnough = 0.995;
constexpr std::size_t kMostTimes = 3;

// What turns products into one metric's scores, for every base row.
class MetricScores {
 public:
  MetricScores(const Codec& codec, Metric metric, const std::vector<std::uint8_t>& codes,
               const OriginTerms& origins)
      : metric_(metric), origins_(origins) {
    const bool euclidean = metric == Metric::l2;
    const CodecParams& p = codec.params();
    const Alpha alpha = euclidean ? p.alpha_l2 : p.alpha_ip;
    const float times = euclidean ? 2 : 1;
    for (std::size_t i = 0; i < codes.size() / codec.code_size(); ++i) {
      const std::uint8_t* code = codes.data() + i * codec.code_size();
      const float cell = codec.squared_cell_length(code);
      const float rho = codec.distance_from_origin(code[codec.groups()], cell);
      const float squares = codec.squared_length(code), s = rho / length_power(squares, alpha);
      full_.push_back(times * s);
      coarse_.push_back(times * rho / length_power(cell, alpha));
      const float own = 2 * s * origins.own(i);
      less_.push_back(euclidean ? s * s * squares + own : 0);
    }
  }

  Metric metric() const { return metric_; }

  // Scores of rows [first, first + n) from products of a centred query, and of the mean, with their
  // decoded directions.
  void full(std::size_t q, const float* products, const float* means, std::size_t first,
            std::size_t n, float* scores) const {
    from_products(full_, q, products, means, first, n, scores);
  }
  void coarse(std::size_t q, const float* products, const float* means, std::size_t first,
              std::size_t n, float* scores) const {
    from_products(coarse_, q, products, means, first, n, scores);
  }

 private:
  void from_products(const std::vector<float>& scale, std::size_t q, const float* products,
                     const float* means, std::size_t first, std::size_t n, float* scores) const {
    const float *s = scale.data() + first, *less = less_.data() + first;
    const bool euclidean = metric_ == Metric::l2;
    const float* bases = euclidean ? origins_.distances(q) : origins_.inner_products(q);
    const float of_mean = euclidean ? 0 : 1;  // L2 asks from the mean
    const std::uint16_t* cells = origins_.cells() + first;
    for (std::size_t i = 0; i < n; ++i) {
      scores[i] = bases[cells[i]] - less[i] + s[i] * (products[i] + of_mean * means[i]);
    }
  }

  Metric metric_;
  const OriginTerms& origins_;
  std::vector<float> full_, coarse_, less_;
};

// Products of queries with the base rows as they decode, whole and plane by plane.
class DepthTrial {
 public:
  DepthTrial(const Codec& codec, const Rows& base, const Rows& queries)
      : codec_(codec),
        n_(base.n),
        queries_(queries.n),
        projected_(project_queries(codec, queries)),
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
        const std::size_t q = task % queries_;
        metrics[task / queries_].full(q, products.of_query(q), products.of_query(queries_), first,
                                      n, scores.data());
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
    std::vector<std::vector<std::size_t>> found(queries_);
    parallel_for(queries_, [&](std::size_t q) {
      std::vector<float> scores(n_);
      metric.coarse(q, coarse_.data() + q * n_, coarse_.data() + queries_ * n_, 0, n_,
                    scores.data());
      for (std::size_t t = 0; t < tops[q].size(); ++t) {
        const float own = scores[tops[q][t]];
        std::uint32_t above = 0;
        for (const float score : scores) above += score > own ? 1u : 0u;
        found[q].push_back(above);
      }
    });
    std::vector<std::size_t> ranks{0};
    for (const auto& own : found) ranks.insert(ranks.end(), own.begin(), own.end());
    std::sort(ranks.begin(), ranks.end());
    const auto most = [&](double share) {
      const double last = std::ceil(share * static_cast<double>(ranks.size())) - 1;
      return ranks[static_cast<std::size_t>(last)] + 1;
    };
    return std::min(most(kWanted), kMostTimes * most(kEnough));
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
  std::vector<float> projected_;
  std::vector<std::uint8_t> codes_;
  std::vector<float> coarse_;  // products: rows of n_, the last those of the mean
};

// Leaves the true neighbours among the tens.
void keep_true(const Codec& codec, const Rows& base, const Rows& queries, bool euclidean,
               std::vector<Top>& tops) {
  const std::vector<Top> exact = exact_tops(codec, base, queries, euclidean);
  for (std::size_t q = 0; q < tops.size(); ++q) {
    Top both;
    std::set_intersection(tops[q].begin(), tops[q].end(), exact[q].begin(), exact[q].end(),
                          std::back_inserter(both));
    tops[q] = std::move(both);
  }
}

// Nanoseconds, roughly, of a search in 500,000 vectors; only the proportions matter.
double cost_of(const Codec& codec, const Depth& depth) {
  constexpr double kVectors = 5e5, kPlane = 0.014, kCandidate = 150, kGroup = 2;
  const auto groups = static_cast<double>(codec.groups());
  return kVectors * kPlane * depth.scan_groups +
         kNearest * depth.refine_factor * (kCandidate + kGroup * groups);
}

double survivors(const Index& index, const Rows& queries, const Depth& depth,
                 const std::vector<Top>& tops) {
  std::vector<float> distances(queries.n * kNearest);
  std::vector<std::int64_t> labels(queries.n * kNearest);
  index.search(queries, {kNearest, kNearest * depth.refine_factor, depth.scan_groups, depth.reach},
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
  return all == 0 ? 1 : static_cast<double>(hits) / static_cast<double>(all);
}

// Raises the refine factor until enough survive.
Depth deepen(const Index& index, const Rows& queries, const std::vector<Top>& tops, Depth depth) {
  while (kNearest * depth.refine_factor < index.size() &&
         survivors(index, queries, depth, tops) < kEnough) {
    depth.refine_factor += (depth.refine_factor + 7) / 8;
  }
  return depth;
}

// The least reach that loses next to nothing of what a search of all lists finds.
Depth shorten(const Index& index, const Rows& queries, const std::vector<Top>& tops, Depth depth) {
  constexpr double kLost = 0.0005;
  const double all = survivors(index, queries, depth, tops);
  Depth shorter = depth;
  for (const float reach : {2.0f, 2.5f, 3.0f, 3.5f, 4.0f, 5.0f, 6.0f}) {
    shorter.reach = reach;
    if (survivors(index, queries, shorter, tops) >= all - kLost) return shorter;
  }
  return depth;
}

// The ten nearest by the full score alone, for scores that are no products.
std::vector<Top> searched_tops(const Index& index, const Rows& queries) {
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
  Index index(codec, codec->params().normalize ? Metric::cosine : Metric::inner_product);
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
  const OriginTerms origins(*codec, queries, trial.codes());
  std::vector<MetricScores> metrics;
  metrics.emplace_back(*codec, params.normalize ? Metric::cosine : Metric::inner_product,
                       trial.codes(), origins);
  if (!params.normalize) metrics.emplace_back(*codec, Metric::l2, trial.codes(), origins);
  std::vector<std::vector<Top>> tops = trial.tops(metrics);
  for (std::size_t m = 0; m < metrics.size(); ++m) {
    keep_true(*codec, base, queries, metrics[m].metric() == Metric::l2, tops[m]);
  }

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
    Index index(codec, metrics[m].metric());
    index.append(trial.codes().data(), base.n);
    best[m] = deepen(index, queries, tops[m], best[m]);
    if (codec->lists() > 1) best[m] = shorten(index, queries, tops[m], best[m]);
  }
  return {best.front(), best.back()};
}

}  // namespace waterfill
