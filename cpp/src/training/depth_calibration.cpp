// Calibration of the search depth: refine factor, coarse groups and prune_sigma.
#include "training/calibration.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <limits>

#include "kernels.hpp"
#include "search/coarse_tables.hpp"
#include "training/calibration_scores.hpp"
#include "waterfill/core/interruption.hpp"
#include "waterfill/index/index.hpp"

namespace waterfill {
namespace {

// The share of the true neighbors among the ten nearest by full score that must be found.
constexpr double kTarget = 0.998;
// The share that is enough if the target costs more than kMaxRatio times as many candidates.
constexpr double kMinimum = 0.995;
constexpr std::size_t kMaxRatio = 3;

// Converts products to the scores of one metric, for every base row.
class MetricScores {
 public:
  MetricScores(const Codec& codec, Metric metric, const std::vector<std::uint8_t>& codes,
               const CenterTerms& centers)
      : metric_(metric),
        origins_(centers),
        full_(codes.size() / codec.code_size()),
        coarse_(full_.size()),
        offsets_(full_.size()) {
    const bool euclidean = metric == Metric::l2;
    const CodecParams& p = codec.params();
    const Alpha alpha = euclidean ? p.alpha_l2 : p.alpha_ip;
    const float times = euclidean ? 2 : 1;
    for_rows(full_.size(), [&](std::size_t i) {
      const std::uint8_t* code = codes.data() + i * codec.code_size();
      const float cell = codec.squared_cell_length(code);
      const float rho = codec.distance_from_center(code[codec.groups()], cell);
      const float squares = codec.squared_length(code), s = rho / length_power(squares, alpha);
      full_[i] = times * s;
      coarse_[i] = times * rho / length_power(cell, alpha);
      const float center_term = 2 * s * centers.center_product(i);
      offsets_[i] = euclidean ? s * s * squares + center_term : 0;
    });
  }

  Metric metric() const { return metric_; }

  // Scores of rows [first, first + n) from the products of their decoded directions with a centered
  // query and with the mean.
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
    const float *s = scale.data() + first, *offsets = offsets_.data() + first;
    const bool euclidean = metric_ == Metric::l2;
    const float* center_terms = euclidean ? origins_.distances(q) : origins_.inner_products(q);
    const float mean_factor = euclidean ? 0 : 1;  // L2 queries are relative to the mean
    const std::uint16_t* cells = origins_.cells() + first;
    for (std::size_t i = 0; i < n; ++i) {
      scores[i] =
          center_terms[cells[i]] - offsets[i] + s[i] * (products[i] + mean_factor * means[i]);
    }
  }

  Metric metric_;
  const CenterTerms& origins_;
  std::vector<float> full_, coarse_, offsets_;
};

// Products of queries with the decoded base rows, by whole codes and by pairs of groups.
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

  // The ten nearest by full score, for each metric and query.
  std::vector<std::vector<Top>> tops(const std::vector<MetricScores>& metrics) const {
    std::vector<Reservoir> best(metrics.size() * queries_, Reservoir(kNearest));
    const std::size_t p = codec_.transform().p();
    std::vector<float> directions(kBlockRows * p);
    for_blocks(n_, [&](std::size_t first, std::size_t n) {
      decode_block(codec_, codes_.data() + first * codec_.code_size(), n, directions.data());
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

  // Adds some pairs of groups to the coarse products.
  void add_pairs(const std::uint32_t* pairs, std::size_t count) {
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
      for_rows(queries_ + 1, [&](std::size_t q) {
        float* sums = coarse_.data() + q * n_ + first;
        const float* values = products.of_query(q);
        for (std::size_t i = 0; i < n; ++i) sums[i] += values[i];
      });
    });
  }

  // The number of coarse candidates that contain enough of the ten nearest of all queries.
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
    const auto candidates = [&](double share) {
      const double last = std::ceil(share * static_cast<double>(ranks.size())) - 1;
      return ranks[static_cast<std::size_t>(last)] + 1;
    };
    return std::min(candidates(kTarget), kMaxRatio * candidates(kMinimum));
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
  std::vector<float> coarse_;  // products: rows of n_ values, the last row for the mean
};

// Keeps those of the ten nearest that are true neighbors.
void keep_true_neighbors(const std::vector<Top>& exact, std::vector<Top>& tops) {
  for (std::size_t q = 0; q < tops.size(); ++q) {
    Top both;
    std::set_intersection(tops[q].begin(), tops[q].end(), exact[q].begin(), exact[q].end(),
                          std::back_inserter(both));
    tops[q] = std::move(both);
  }
}

// The approximate time of a search in 500,000 vectors, in nanoseconds. Only ratios matter.
double search_cost(const Codec& codec, const Depth& depth) {
  constexpr double kVectors = 5e5, kCoarseGroup = 0.014, kCandidate = 150, kGroup = 2;
  const auto groups = static_cast<double>(codec.groups());
  return kVectors * kCoarseGroup * depth.coarse_groups +
         kNearest * depth.refine_factor * (kCandidate + kGroup * groups);
}

// The share of the ten nearest that a search of this depth finds.
double recall_of(const Index& index, const Rows& queries, const Depth& depth,
                 const std::vector<Top>& tops) {
  std::vector<float> distances(queries.n * kNearest);
  std::vector<std::int64_t> labels(queries.n * kNearest);
  index.search(queries,
               {kNearest, kNearest * depth.refine_factor, depth.coarse_groups, depth.prune_sigma},
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

// Raises the refine factor until the recall is sufficient.
Depth raise_refine_factor(const Index& index, const Rows& queries, const std::vector<Top>& tops,
                          Depth depth) {
  while (kNearest * depth.refine_factor < index.size() &&
         recall_of(index, queries, depth, tops) < kMinimum) {
    depth.refine_factor += (depth.refine_factor + 7) / 8;
  }
  return depth;
}

// The smallest prune_sigma with nearly the recall of a search of all lists.
Depth calibrate_prune_sigma(const Index& index, const Rows& queries, const std::vector<Top>& tops,
                            Depth depth) {
  constexpr double kMaxLoss = 0.0005;
  const double all = recall_of(index, queries, depth, tops);
  Depth pruned = depth;
  for (const float sigma : {2.0f, 2.5f, 3.0f, 3.5f, 4.0f, 5.0f, 6.0f}) {
    pruned.prune_sigma = sigma;
    if (recall_of(index, queries, pruned, tops) >= all - kMaxLoss) return pruned;
  }
  return depth;
}

// The ten nearest by full score of a search, for scores that are not products.
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

// The published score is not a product: each number of candidates is tried by a search.
Depth published_depth(const std::shared_ptr<const Codec>& codec, const Rows& base,
                      const Rows& queries) {
  constexpr std::size_t kRows = 16384;  // each gets a full score
  const std::size_t n = std::min(kRows, base.n);
  std::vector<std::uint8_t> codes(n * codec->code_size());
  codec->encode({base.data, n, base.d}, codes.data());
  Index index(codec, codec->params().normalize ? Metric::cosine : Metric::inner_product);
  index.append(codes.data(), n);
  const Depth start{5, static_cast<std::uint32_t>(codec->groups())};
  return raise_refine_factor(index, queries, searched_tops(index, queries), start);
}

}  // namespace

SearchCalibration calibrate_search(const std::shared_ptr<const Codec>& codec, const Rows& base,
                                   const Rows& queries) {
  const CodecParams& params = codec->params();
  if (params.pq_multiplier > 0) return {published_depth(codec, base, queries), {}, {}, {}};
  DepthTrial trial(*codec, base, queries);
  const CenterTerms centers(*codec, queries, trial.codes());
  std::vector<MetricScores> metrics;
  metrics.emplace_back(*codec, params.normalize ? Metric::cosine : Metric::inner_product,
                       trial.codes(), centers);
  if (!params.normalize) metrics.emplace_back(*codec, Metric::l2, trial.codes(), centers);
  // The parts that take longest: the encoded rows, two rankings, and the searches of each metric.
  const std::uint64_t part = kSearchWork / (3 + metrics.size());
  count_work(part);
  std::vector<std::vector<Top>> tops = trial.tops(metrics);
  count_work(part);
  std::vector<std::vector<Top>> exact;
  for (std::size_t m = 0; m < metrics.size(); ++m) {
    exact.push_back(exact_tops(*codec, base, queries, metrics[m].metric() == Metric::l2));
    keep_true_neighbors(exact[m], tops[m]);
  }
  count_work(part);

  // Only long codes have groups that contribute little enough to leave out.
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
    trial.add_pairs(pairs.data() + scanned, end - scanned);
    scanned = end;
    for (std::size_t m = 0; m < metrics.size(); ++m) {
      const std::size_t candidates = trial.candidates_for(metrics[m], tops[m]);
      const Depth depth{static_cast<std::uint32_t>((candidates + kNearest - 1) / kNearest),
                        static_cast<std::uint32_t>(std::min(2 * scanned, codec->groups()))};
      const double cost = search_cost(*codec, depth);
      if (cost < least[m]) best[m] = depth;
      least[m] = std::min(least[m], cost);
    }
  }
  std::vector<ListRecall> recalls(metrics.size());
  for (std::size_t m = 0; m < metrics.size(); ++m) {  // the real scan rounds its tables to bytes
    Index index(codec, metrics[m].metric());
    index.append(trial.codes().data(), base.n);
    best[m] = raise_refine_factor(index, queries, tops[m], best[m]);
    count_work(part);
    if (codec->lists() == 1) continue;
    best[m] = calibrate_prune_sigma(index, queries, tops[m], best[m]);
    recalls[m] = calibrate_list_recall(index, base, trial.codes(), queries, exact[m]);
  }
  return {best.front(), best.back(), recalls.front(), recalls.back()};
}

}  // namespace waterfill
