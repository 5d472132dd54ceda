#include "calibrate.hpp"

#include <algorithm>
#include <array>
#include <numeric>

#include "kernels.hpp"
#include "waterfill/index.hpp"
#include "waterfill/parallel.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kNearest = 10;
constexpr std::size_t kAlphas = kMaxQuarters + 1;
using Top = std::vector<std::uint32_t>;

// Positions of the ten highest scores, ascending.
Top top_of(const std::vector<float>& scores) {
  Top order(scores.size());
  std::iota(order.begin(), order.end(), 0u);
  const std::size_t k = std::min(kNearest, order.size());
  std::nth_element(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(k - 1), order.end(),
                   [&](std::uint32_t a, std::uint32_t b) {
                     return scores[a] != scores[b] ? scores[a] > scores[b] : a < b;
                   });
  order.resize(k);
  std::sort(order.begin(), order.end());
  return order;
}

std::size_t overlap(const Top& a, const Top& b) {
  Top both;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(both));
  return both.size();
}

double dot(const float* a, const float* b, std::size_t d) {
  std::array<double, 4> sum{};
  for (std::size_t k = 0; k < d; ++k) sum[k % 4] += static_cast<double>(a[k]) * b[k];
  return sum[0] + sum[1] + sum[2] + sum[3];
}

// What the scores of every base row need, whatever the query.
struct Base {
  Rows rows;
  std::vector<std::uint8_t> codes;
  std::vector<float> rho, squared_length, squared_norm;
};

Base encode_base(const Codec& codec, const Rows& rows) {
  Base base{rows, std::vector<std::uint8_t>(rows.n * codec.code_size()), std::vector<float>(rows.n),
            std::vector<float>(rows.n), std::vector<float>(rows.n)};
  constexpr std::size_t kTaskRows = 64;
  parallel_for((rows.n + kTaskRows - 1) / kTaskRows, [&](std::size_t task) {
    const std::size_t first = task * kTaskRows, n = std::min(kTaskRows, rows.n - first);
    std::uint8_t* codes = base.codes.data() + first * codec.code_size();
    codec.encode_directions({rows.row(first), n, rows.d}, codes, codec.code_size(),
                            base.rho.data() + first);
    for (std::size_t i = 0; i < n; ++i) {
      base.squared_length[first + i] = codec.squared_length(codes + i * codec.code_size());
      const float* row = rows.row(first + i);
      base.squared_norm[first + i] = static_cast<float>(dot(row, row, rows.d));
    }
  });
  return base;
}

struct Hits {
  std::array<std::size_t, kAlphas> ip{}, l2{};
};

// <q, u_hat> of every base row, by table.
std::vector<float> direction_products(const Codec& codec, const Base& base, const float* query) {
  std::vector<float> projected(codec.transform().stride());
  codec.transform().queries({query, 1, codec.d()}, projected.data());
  std::vector<float> full(codec.groups() * kCentroids);
  codec.full_tables(projected.data(), full.data());
  std::vector<float> products(base.rows.n);
  for (std::size_t i = 0; i < base.rows.n; ++i) {
    const std::uint8_t* code = base.codes.data() + i * codec.code_size();
    float sum = 0;
    for (std::size_t g = 0; g < codec.groups(); ++g) sum += full[g * kCentroids + code[g]];
    products[i] = sum;
  }
  return products;
}

Hits count_hits(const Codec& codec, const Base& base, const float* query) {
  const std::size_t n = base.rows.n;
  std::vector<float> ip(n), l2(n);
  for (std::size_t i = 0; i < n; ++i) {
    ip[i] = static_cast<float>(dot(query, base.rows.row(i), base.rows.d));
    l2[i] = 2 * ip[i] - base.squared_norm[i];
  }
  const Top true_ip = top_of(ip), true_l2 = top_of(l2);
  std::vector<float> from_mean(codec.d());
  for (std::size_t k = 0; k < codec.d(); ++k) from_mean[k] = query[k] - codec.params().mean[k];
  const std::vector<float> raw = direction_products(codec, base, query);
  const std::vector<float> centred = direction_products(codec, base, from_mean.data());
  Hits hits;
  for (std::uint32_t a = 0; a < kAlphas; ++a) {
    for (std::size_t i = 0; i < n; ++i) {
      const float rho = base.rho[i];
      const float s = rho / length_power(base.squared_length[i], Alpha{a});
      ip[i] = s * raw[i];
      l2[i] = 2 * s * centred[i] - rho * rho;
    }
    hits.ip[a] = overlap(top_of(ip), true_ip);
    hits.l2[a] = overlap(top_of(l2), true_l2);
  }
  return hits;
}

// The largest alpha among those with the most hits: renormalising is the rule, less of it the
// exception that has to earn its place.
Alpha best_of(const std::array<std::size_t, kAlphas>& hits) {
  std::uint32_t best = kMaxQuarters;
  for (std::uint32_t a = kMaxQuarters; a-- > 0;) {
    if (hits[a] > hits[best]) best = a;
  }
  return Alpha{best};
}

double survivors(const IndexFlat& index, const Rows& queries, std::size_t candidates,
                 const std::vector<std::int64_t>& full) {
  std::vector<float> distances(queries.n * kNearest);
  std::vector<std::int64_t> labels(queries.n * kNearest);
  index.search(queries, {kNearest, candidates}, distances.data(), labels.data());
  std::size_t hits = 0;
  for (std::size_t q = 0; q < queries.n; ++q) {
    const auto first = full.begin() + static_cast<std::ptrdiff_t>(q * kNearest);
    for (std::size_t i = 0; i < kNearest; ++i) {
      hits += std::find(first, first + kNearest, labels[q * kNearest + i]) != first + kNearest;
    }
  }
  return static_cast<double>(hits) / static_cast<double>(full.size());
}

std::uint32_t refine_for(const IndexFlat& index, const Rows& queries) {
  constexpr double kWanted = 0.995;
  constexpr std::array<std::uint32_t, 9> kFactors{5, 7, 10, 15, 20, 30, 40, 60, 80};
  std::vector<float> distances(queries.n * kNearest);
  std::vector<std::int64_t> full(queries.n * kNearest);
  index.search(queries, {kNearest, index.size()}, distances.data(), full.data());
  for (const std::uint32_t factor : kFactors) {
    if (survivors(index, queries, factor * kNearest, full) >= kWanted) return factor;
  }
  return kFactors.back();
}

}  // namespace

Alphas calibrate_alpha(const Codec& codec, const Rows& base, const Rows& queries) {
  const Base encoded = encode_base(codec, base);
  std::vector<Hits> hits(queries.n);
  parallel_for(queries.n,
               [&](std::size_t q) { hits[q] = count_hits(codec, encoded, queries.row(q)); });
  Hits total;
  for (const Hits& some : hits) {
    for (std::size_t a = 0; a < kAlphas; ++a) {
      total.ip[a] += some.ip[a];
      total.l2[a] += some.l2[a];
    }
  }
  return {best_of(total.ip), best_of(total.l2)};
}

std::uint32_t calibrate_refine(const std::shared_ptr<const Codec>& codec, const Rows& base,
                               const Rows& queries) {
  std::vector<std::uint8_t> codes(base.n * codec->code_size());
  codec->encode(base, codes.data());
  std::vector<Metric> metrics{codec->params().normalize ? Metric::cosine : Metric::inner_product};
  if (metrics[0] != Metric::cosine && codec->params().pq_multiplier == 0) {
    metrics.push_back(Metric::l2);
  }
  std::uint32_t factor = 1;
  for (const Metric metric : metrics) {
    IndexFlat index(codec, metric);
    index.append(codes.data(), base.n);
    factor = std::max(factor, refine_for(index, queries));
  }
  return factor;
}

}  // namespace waterfill
