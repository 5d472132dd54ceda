#include "score_blocks.hpp"

#include <array>
#include <iterator>

namespace waterfill {

void offer_all(Reservoir& best, const float* scores, std::size_t n, std::size_t first) {
  for (std::size_t i = 0; i < n; ++i) {
    if (scores[i] > best.threshold()) {
      best.offer(scores[i], static_cast<std::uint32_t>(first + i));
    }
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

std::vector<Top> exact_tops(const Rows& base, const Rows& queries, bool euclidean) {
  const std::vector<float> rows(queries.data, queries.data + queries.n * queries.d);
  std::vector<Reservoir> best(queries.n, Reservoir(kNearest));
  for_blocks(base.n, [&](std::size_t first, std::size_t n) {
    const Products products(rows, base.d, n,
                            [&](std::size_t k, std::size_t i) { return base.row(first + i)[k]; });
    std::vector<float> half(n, 0.0f);  // of the rows' squared lengths
    for (std::size_t i = 0; i < n && euclidean; ++i) {
      const float* row = base.row(first + i);
      for (std::size_t k = 0; k < base.d; ++k) half[i] += row[k] * row[k] / 2;
    }
    parallel_for(queries.n, [&](std::size_t q) {
      std::array<float, kBlockRows> scores;
      for (std::size_t i = 0; i < n; ++i) scores[i] = products.of_query(q)[i] - half[i];
      offer_all(best[q], scores.data(), n, first);
    });
  });
  std::vector<Top> tops;
  for (Reservoir& one : best) tops.push_back(top_of(one));
  return tops;
}

std::vector<float> project_queries(const Codec& codec, const Rows& queries) {
  const Transform& transform = codec.transform();
  const std::size_t p = transform.p(), stride = transform.stride();
  std::vector<float> padded(queries.n * stride), projected;
  transform.queries(queries, padded.data());
  for (std::size_t q = 0; q < queries.n; ++q) {
    const auto row = padded.begin() + static_cast<std::ptrdiff_t>(q * stride);
    projected.insert(projected.end(), row, row + static_cast<std::ptrdiff_t>(p));
  }
  return projected;
}

OriginTerms::OriginTerms(const Codec& codec, const Rows& queries,
                         const std::vector<std::uint8_t>& codes)
    : cells_(codes.size() / codec.code_size()),
      own_(cells_.size()),
      squares_(codec.lists()),
      products_(std::vector<float>(queries.data, queries.data + queries.n * queries.d), queries.d,
                codec.lists(), [&](std::size_t k, std::size_t c) { return codec.origin(c)[k]; }) {
  for (std::size_t c = 0; c < codec.lists(); ++c) {
    for (std::size_t k = 0; k < codec.d(); ++k)
      squares_[c] += codec.origin(c)[k] * codec.origin(c)[k];
  }
  std::vector<float> mean = project_queries(codec, {codec.params().mean.data(), 1, codec.d()});
  const std::size_t p = codec.transform().p();
  parallel_for((cells_.size() + kBlockRows - 1) / kBlockRows, [&](std::size_t block) {
    std::vector<float> y(p);
    for (std::size_t i = block * kBlockRows; i < std::min((block + 1) * kBlockRows, cells_.size());
         ++i) {
      const std::uint8_t* code = codes.data() + i * codec.code_size();
      cells_[i] = static_cast<std::uint16_t>(codec.cell_of(code));
      codec.decode_directions(code, 1, y.data());
      float product = 0;
      for (std::size_t j = 0; j < p; ++j) product += mean[j] * y[j];
      own_[i] = product + codec.centroid_product(code);
    }
  });
}

}  // namespace waterfill
