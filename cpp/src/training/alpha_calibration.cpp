// Calibration of alpha, the exponent of the scale.
#include "training/calibration.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "training/calibration_scores.hpp"
#include "waterfill/core/interruption.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kAlphas = kMaxQuarters + 1;

// Codes of the base rows and their distances from the coding centers.
struct EncodedRows {
  Rows rows;
  std::vector<std::uint8_t> codes;
  std::vector<float> rho;
};

EncodedRows encode_base(const Codec& codec, const Rows& rows) {
  EncodedRows base{rows, std::vector<std::uint8_t>(rows.n * codec.code_size()),
                   std::vector<float>(rows.n)};
  constexpr std::size_t kTaskRows = 64;
  parallel_for((rows.n + kTaskRows - 1) / kTaskRows, [&](std::size_t task) {
    const std::size_t first = task * kTaskRows, n = std::min(kTaskRows, rows.n - first);
    codec.encode_directions({rows.row(first), n, rows.d},
                            base.codes.data() + first * codec.code_size(), base.rho.data() + first);
  });
  return base;
}

// The ten nearest of one query by exact scores and by full scores with each alpha.
struct Rankings {
  Reservoir true_ip{kNearest}, true_l2{kNearest};
  std::vector<Reservoir> ip{kAlphas, Reservoir(kNearest)}, l2{kAlphas, Reservoir(kNearest)};
};

struct Hits {
  std::array<std::size_t, kAlphas> ip{}, l2{};
};

// The parts of the scores of a block of base rows that do not depend on the query.
struct BlockFactors {
  std::vector<float> squares, rho, lengths;  // |x - mean|^2, and |u_hat|^2
  std::array<std::vector<float>, kAlphas> scale;

  BlockFactors(const Codec& codec, const EncodedRows& base, std::size_t first, std::size_t n)
      : squares(n),
        rho(base.rho.begin() + static_cast<std::ptrdiff_t>(first),
            base.rho.begin() + static_cast<std::ptrdiff_t>(first + n)),
        lengths(n) {
    for (std::vector<float>& scales : scale) scales.resize(n);
    for_rows(n, [&](std::size_t i) {
      squares[i] = squared_distance(base.rows.row(first + i), codec.params().mean);
      const float length =
          codec.squared_length(base.codes.data() + (first + i) * codec.code_size());
      lengths[i] = length;
      for (std::uint32_t a = 0; a < kAlphas; ++a) {
        scale[a][i] = rho[i] / length_power(length, Alpha{a});
      }
    });
  }
};

// Products of the centered queries, and of the mean as the last one, with the base rows and with
// their decoded directions.
struct BlockProducts {
  const Products &exact, &decoded;
};

void rank_block(const BlockFactors& block, const BlockProducts& products,
                const CenterTerms& centers, std::size_t q, std::size_t mean, std::size_t first,
                Rankings& ranking) {
  const std::size_t n = block.rho.size();
  const float *exact = products.exact.of_query(q), *decoded = products.decoded.of_query(q);
  const float *exact_mean = products.exact.of_query(mean),
              *decoded_mean = products.decoded.of_query(mean);
  const float *inner = centers.inner_products(q), *distances = centers.distances(q);
  const std::uint16_t* cells = centers.cells() + first;
  std::array<float, kBlockRows> scores, from_center, center_terms;
  for (std::size_t i = 0; i < n; ++i) scores[i] = exact[i] + exact_mean[i];
  offer_all(ranking.true_ip, scores.data(), n, first);
  for (std::size_t i = 0; i < n; ++i) scores[i] = 2 * exact[i] - block.squares[i];
  offer_all(ranking.true_l2, scores.data(), n, first);
  for (std::size_t i = 0; i < n; ++i) {
    from_center[i] = decoded[i] - centers.center_product(first + i);
    center_terms[i] = distances[cells[i]];
  }
  for (std::size_t a = 0; a < kAlphas; ++a) {
    const float* scale = block.scale[a].data();
    for (std::size_t i = 0; i < n; ++i) {
      scores[i] = inner[cells[i]] + scale[i] * (decoded[i] + decoded_mean[i]);
    }
    offer_all(ranking.ip[a], scores.data(), n, first);
    for (std::size_t i = 0; i < n; ++i) {
      const float squares = scale[i] * scale[i] * block.lengths[i];
      scores[i] = center_terms[i] + 2 * scale[i] * from_center[i] - squares;
    }
    offer_all(ranking.l2[a], scores.data(), n, first);
  }
}

Hits hits_of(Rankings& ranking) {
  const Top true_ip = top_of(ranking.true_ip), true_l2 = top_of(ranking.true_l2);
  Hits hits;
  for (std::size_t a = 0; a < kAlphas; ++a) {
    hits.ip[a] = overlap(top_of(ranking.ip[a]), true_ip);
    hits.l2[a] = overlap(top_of(ranking.l2[a]), true_l2);
  }
  return hits;
}

// Full renormalization is the default; a smaller alpha must be better by more than noise.
Alpha best_of(const std::array<std::size_t, kAlphas>& hits) {
  const auto best =
      static_cast<std::uint32_t>(std::max_element(hits.begin(), hits.end()) - hits.begin());
  constexpr double kMinGain = 1.005;
  const auto standard = static_cast<double>(hits[kMaxQuarters]);
  const bool better = static_cast<double>(hits[best]) > kMinGain * standard;
  return Alpha{better ? best : kMaxQuarters};
}

// Whether decoded directions keep their norm, to 0.0002 of their energy. Then there is almost
// nothing to restore, and a scale that holds the norm itself need not be exact: the codes
// compensate for its rounding (Codec::encode_directions). This applies only to codecs with second
// bytes: in others the energy of one dimension may hide how coarsely the rest is coded.
bool norms_are_kept(const Codec& codec, const EncodedRows& base) {
  constexpr double kKept = 0.9998;
  if (codec.params().second_bytes.empty()) return false;
  double sum = 0, rows = 0;
  for (std::size_t i = 0; i < base.rows.n; ++i) {
    if (!(base.rho[i] > 0)) continue;  // a row at its coding center has no direction
    sum += codec.squared_length(base.codes.data() + i * codec.code_size());
    rows += 1;
  }
  return sum >= kKept * rows;
}

}  // namespace

Alphas calibrate_alpha(const Codec& codec, const Rows& base, const Rows& queries) {
  const EncodedRows encoded = encode_base(codec, base);
  const bool kept = norms_are_kept(codec, encoded);
  const std::size_t p = codec.transform().p();
  const std::vector<float> exact_queries = centered_queries(codec, queries);
  const std::vector<float>& mean = codec.params().mean;
  const std::vector<float> projected = project_queries(codec, queries);
  const CenterTerms centers(codec, queries, encoded.codes);
  std::vector<Rankings> rankings(queries.n);
  std::vector<float> directions(kBlockRows * p);
  for_blocks(base.n, [&](std::size_t first, std::size_t n) {
    decode_block(codec, encoded.codes.data() + first * codec.code_size(), n, directions.data());
    const BlockFactors block(codec, encoded, first, n);
    const Products exact(exact_queries, base.d, n, [&](std::size_t k, std::size_t i) {
      return base.row(first + i)[k] - mean[k];
    });
    const Products decoded(projected, p, n,
                           [&](std::size_t k, std::size_t i) { return directions[i * p + k]; });
    parallel_for(queries.n, [&](std::size_t q) {
      rank_block(block, {exact, decoded}, centers, q, queries.n, first, rankings[q]);
    });
    count_work(kAlphaWork * n / base.n);
  });
  Hits total;
  for (Rankings& ranking : rankings) {
    const Hits some = hits_of(ranking);
    for (std::size_t a = 0; a < kAlphas; ++a) {
      total.ip[a] += some.ip[a];
      total.l2[a] += some.l2[a];
    }
  }
  const auto neighbors = static_cast<double>(kNearest * queries.n);
  const Alpha ip = kept ? Alpha{0} : best_of(total.ip), l2 = kept ? Alpha{0} : best_of(total.l2);
  return {ip, l2, static_cast<double>(total.ip[ip.quarters]) / neighbors,
          static_cast<double>(total.l2[l2.quarters]) / neighbors};
}

}  // namespace waterfill
