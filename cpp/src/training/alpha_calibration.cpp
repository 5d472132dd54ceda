#include "training/calibration.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "training/calibration_scores.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kAlphas = kMaxQuarters + 1;

// What the scores of every base row need, whatever the query.
struct Base {
  Rows rows;
  std::vector<std::uint8_t> codes;
  std::vector<float> rho;
};

Base encode_base(const Codec& codec, const Rows& rows) {
  Base base{rows, std::vector<std::uint8_t>(rows.n * codec.code_size()),
            std::vector<float>(rows.n)};
  constexpr std::size_t kTaskRows = 64;
  parallel_for((rows.n + kTaskRows - 1) / kTaskRows, [&](std::size_t task) {
    const std::size_t first = task * kTaskRows, n = std::min(kTaskRows, rows.n - first);
    codec.encode_directions({rows.row(first), n, rows.d},
                            base.codes.data() + first * codec.code_size(), base.rho.data() + first);
  });
  return base;
}

// The ten best of one query by its exact scores and by those of every alpha.
struct Contest {
  Reservoir true_ip{kNearest}, true_l2{kNearest};
  std::vector<Reservoir> ip{kAlphas, Reservoir(kNearest)}, l2{kAlphas, Reservoir(kNearest)};
};

struct Hits {
  std::array<std::size_t, kAlphas> ip{}, l2{};
};

// A block of base rows: what their scores take beside products with the query.
struct BlockFactors {
  std::vector<float> squares, rho, lengths;  // squares of the distance from the mean, of u_hat
  std::array<std::vector<float>, kAlphas> scale;

  BlockFactors(const Codec& codec, const Base& base, std::size_t first, std::size_t n)
      : squares(n),
        rho(base.rho.begin() + static_cast<std::ptrdiff_t>(first),
            base.rho.begin() + static_cast<std::ptrdiff_t>(first + n)),
        lengths(n) {
    for (std::vector<float>& scales : scale) scales.resize(n);
    for (std::size_t i = 0; i < n; ++i) {
      squares[i] = squared_distance(base.rows.row(first + i), codec.params().mean);
      const float length =
          codec.squared_length(base.codes.data() + (first + i) * codec.code_size());
      lengths[i] = length;
      for (std::uint32_t a = 0; a < kAlphas; ++a) {
        scale[a][i] = rho[i] / length_power(length, Alpha{a});
      }
    }
  }
};

// Products of the centred queries, and last of the mean, with rows and with their decoded
// directions.
struct BlockProducts {
  const Products &exact, &decoded;
};

void compete(const BlockFactors& block, const BlockProducts& products, const OriginTerms& origins,
             std::size_t q, std::size_t mean, std::size_t first, Contest& contest) {
  const std::size_t n = block.rho.size();
  const float *exact = products.exact.of_query(q), *decoded = products.decoded.of_query(q);
  const float *exact_mean = products.exact.of_query(mean),
              *decoded_mean = products.decoded.of_query(mean);
  const float *inner = origins.inner_products(q), *distances = origins.distances(q);
  const std::uint16_t* cells = origins.cells() + first;
  std::array<float, kBlockRows> scores, from_origin, base;
  for (std::size_t i = 0; i < n; ++i) scores[i] = exact[i] + exact_mean[i];
  offer_all(contest.true_ip, scores.data(), n, first);
  for (std::size_t i = 0; i < n; ++i) scores[i] = 2 * exact[i] - block.squares[i];
  offer_all(contest.true_l2, scores.data(), n, first);
  for (std::size_t i = 0; i < n; ++i) {
    from_origin[i] = decoded[i] - origins.own(first + i);
    base[i] = distances[cells[i]];
  }
  for (std::size_t a = 0; a < kAlphas; ++a) {
    const float* scale = block.scale[a].data();
    for (std::size_t i = 0; i < n; ++i) {
      scores[i] = inner[cells[i]] + scale[i] * (decoded[i] + decoded_mean[i]);
    }
    offer_all(contest.ip[a], scores.data(), n, first);
    for (std::size_t i = 0; i < n; ++i) {
      const float squares = scale[i] * scale[i] * block.lengths[i];
      scores[i] = base[i] + 2 * scale[i] * from_origin[i] - squares;
    }
    offer_all(contest.l2[a], scores.data(), n, first);
  }
}

Hits hits_of(Contest& contest) {
  const Top true_ip = top_of(contest.true_ip), true_l2 = top_of(contest.true_l2);
  Hits hits;
  for (std::size_t a = 0; a < kAlphas; ++a) {
    hits.ip[a] = overlap(top_of(contest.ip[a]), true_ip);
    hits.l2[a] = overlap(top_of(contest.l2[a]), true_l2);
  }
  return hits;
}

// Renormalising is the rule; less of it must find clearly more than chance would.
Alpha best_of(const std::array<std::size_t, kAlphas>& hits) {
  const auto best =
      static_cast<std::uint32_t>(std::max_element(hits.begin(), hits.end()) - hits.begin());
  constexpr double kClearly = 1.005;
  const auto usual = static_cast<double>(hits[kMaxQuarters]);
  const bool clear = static_cast<double>(hits[best]) > kClearly * usual;
  return Alpha{clear ? best : kMaxQuarters};
}

// Whether decoded directions are as long as directions, to 0.0002 of their energy. There is
// next to nothing to restore then, and a scale that holds the length itself need not be exact: the
// codes make up for its rounding (Codec::encode_directions). Only where water-filling gave
// second bytes: elsewhere one dimension's energy may hide how coarsely the others are coded.
bool lengths_are_kept(const Codec& codec, const Base& base) {
  constexpr double kKept = 0.9998;
  if (codec.params().rests.empty()) return false;
  double sum = 0, rows = 0;
  for (std::size_t i = 0; i < base.rows.n; ++i) {
    if (!(base.rho[i] > 0)) continue;  // its cell's centroid: no direction
    sum += codec.squared_length(base.codes.data() + i * codec.code_size());
    rows += 1;
  }
  return sum >= kKept * rows;
}

}  // namespace

Alphas calibrate_alpha(const Codec& codec, const Rows& rows, const Rows& queries) {
  const Base base = encode_base(codec, rows);
  const bool kept = lengths_are_kept(codec, base);
  const std::size_t p = codec.transform().p();
  const std::vector<float> exact_queries = centred_queries(codec, queries);
  const std::vector<float>& mean = codec.params().mean;
  const std::vector<float> projected = project_queries(codec, queries);
  const OriginTerms origins(codec, queries, base.codes);
  std::vector<Contest> contests(queries.n);
  std::vector<float> directions(kBlockRows * p);
  for_blocks(rows.n, [&](std::size_t first, std::size_t n) {
    codec.decode_directions(base.codes.data() + first * codec.code_size(), n, directions.data());
    const BlockFactors block(codec, base, first, n);
    const Products exact(exact_queries, rows.d, n, [&](std::size_t k, std::size_t i) {
      return rows.row(first + i)[k] - mean[k];
    });
    const Products decoded(projected, p, n,
                           [&](std::size_t k, std::size_t i) { return directions[i * p + k]; });
    parallel_for(queries.n, [&](std::size_t q) {
      compete(block, {exact, decoded}, origins, q, queries.n, first, contests[q]);
    });
  });
  Hits total;
  for (Contest& contest : contests) {
    const Hits some = hits_of(contest);
    for (std::size_t a = 0; a < kAlphas; ++a) {
      total.ip[a] += some.ip[a];
      total.l2[a] += some.l2[a];
    }
  }
  const auto wanted = static_cast<double>(kNearest * queries.n);
  const Alpha ip = kept ? Alpha{0} : best_of(total.ip), l2 = kept ? Alpha{0} : best_of(total.l2);
  return {ip, l2, static_cast<double>(total.ip[ip.quarters]) / wanted,
          static_cast<double>(total.l2[l2.quarters]) / wanted};
}

}  // namespace waterfill
