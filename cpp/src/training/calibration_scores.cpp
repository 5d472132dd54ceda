#include "training/calibration_scores.hpp"

#include <array>
#include <iterator>

namespace waterfill {

void offer_all(Reservoir& best, const float* scores, std::size_t n, std::size_t first) {
  for (std::size_t i = 0; i < n; ++i) {
    if (!(scores[i] > best.threshold())) continue;
    best.push(scores[i], static_cast<std::uint32_t>(first + i));
    best.trim();
  }
}

Top top_of(Reservoir& best) {
  Top positions;
  for (const Candidate candidate : best.take()) positions.push_back(candidate.position());
  std::sort(positions.begin(), positions.end());
  return positions;
}

std::size_t overlap(const Top& a, const Top& b) {
  Top both;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(both));
  return both.size();
}

void decode_block(const Codec& codec, const std::uint8_t* codes, std::size_t n, float* directions) {
  const std::size_t p = codec.transform().p();
  for_rows(n, [&](std::size_t i) {
    codec.decode_directions(codes + i * codec.code_size(), 1, directions + i * p);
  });
}

std::vector<Top> exact_tops(const Codec& codec, const Rows& base, const Rows& queries,
                            bool euclidean) {
  const std::vector<float> rows = centered_queries(codec, queries);
  const std::vector<float>& mean = codec.params().mean;
  std::vector<Reservoir> best(queries.n, Reservoir(kNearest));
  for_blocks(base.n, [&](std::size_t first, std::size_t n) {
    const Products products(rows, base.d, n, [&](std::size_t k, std::size_t i) {
      return base.row(first + i)[k] - mean[k];
    });
    // The part of a score that depends only on the row: half its squared norm, or the mean's
    // product.
    std::vector<float> own(products.of_query(queries.n), products.of_query(queries.n) + n);
    if (euclidean) {
      for_rows(n,
               [&](std::size_t i) { own[i] = -squared_distance(base.row(first + i), mean) / 2; });
    }
    parallel_for(queries.n, [&](std::size_t q) {
      std::array<float, kBlockRows> scores;
      for (std::size_t i = 0; i < n; ++i) scores[i] = products.of_query(q)[i] + own[i];
      offer_all(best[q], scores.data(), n, first);
    });
  });
  std::vector<Top> tops;
  tops.reserve(best.size());
  for (Reservoir& one : best) tops.push_back(top_of(one));
  return tops;
}

float squared_distance(const float* row, const std::vector<float>& point) {
  double squares = 0;
  for (std::size_t k = 0; k < point.size(); ++k) {
    const double value = static_cast<double>(row[k]) - point[k];
    squares += value * value;
  }
  return static_cast<float>(squares);
}

std::vector<float> centered_queries(const Codec& codec, const Rows& queries) {
  const std::vector<float>& mean = codec.params().mean;
  std::vector<float> centered;
  centered.reserve((queries.n + 1) * queries.d);
  for (std::size_t q = 0; q < queries.n; ++q) {
    for (std::size_t k = 0; k < queries.d; ++k) centered.push_back(queries.row(q)[k] - mean[k]);
  }
  centered.insert(centered.end(), mean.begin(), mean.end());
  return centered;
}

std::vector<float> project_queries(const Codec& codec, const Rows& queries) {
  const Transform& transform = codec.transform();
  const std::size_t p = transform.p(), stride = transform.stride(), n = queries.n + 1;
  const std::vector<float> centered = centered_queries(codec, queries);
  std::vector<float> padded(n * stride), projected;
  transform.queries({centered.data(), n, queries.d}, padded.data());
  for (std::size_t q = 0; q < n; ++q) {
    const auto row = padded.begin() + static_cast<std::ptrdiff_t>(q * stride);
    projected.insert(projected.end(), row, row + static_cast<std::ptrdiff_t>(p));
  }
  return projected;
}

CenterTerms::CenterTerms(const Codec& codec, const Rows& queries,
                         const std::vector<std::uint8_t>& codes)
    : lists_(codec.lists()),
      cells_(codes.size() / codec.code_size()),
      center_products_(cells_.size()) {
  const std::vector<float>& mean = codec.params().mean;
  const Products products(
      centered_queries(codec, queries), queries.d, lists_,
      [&](std::size_t k, std::size_t c) { return codec.coding_center(c)[k] - mean[k]; });
  const float* means = products.of_query(queries.n);
  std::vector<float> lengths;
  lengths.reserve(lists_);
  for (std::size_t c = 0; c < lists_; ++c) {
    lengths.push_back(squared_distance(codec.coding_center(c), mean));
  }
  for (std::size_t q = 0; q < queries.n; ++q) {
    const float squares = squared_distance(queries.row(q), mean);
    for (std::size_t c = 0; c < lists_; ++c) {
      const float product = products.of_query(q)[c];
      inner_.push_back(product + means[c]);
      distances_.push_back(2 * product - lengths[c] - squares);
    }
  }
  for_rows(cells_.size(), [&](std::size_t i) {
    const std::uint8_t* code = codes.data() + i * codec.code_size();
    cells_[i] = static_cast<std::uint16_t>(codec.cell_of(code));
    center_products_[i] = codec.centroid_product(code);
  });
}

}  // namespace waterfill
