#include "score_blocks.hpp"

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

std::vector<float> project_with_mean(const Codec& codec, const Rows& queries) {
  const Transform& transform = codec.transform();
  const std::size_t p = transform.p(), stride = transform.stride();
  std::vector<float> rows(queries.data, queries.data + queries.n * queries.d);
  rows.insert(rows.end(), codec.params().mean.begin(), codec.params().mean.end());
  std::vector<float> padded((queries.n + 1) * stride), projected;
  transform.queries({rows.data(), queries.n + 1, queries.d}, padded.data());
  for (std::size_t q = 0; q <= queries.n; ++q) {
    const auto row = padded.begin() + static_cast<std::ptrdiff_t>(q * stride);
    projected.insert(projected.end(), row, row + static_cast<std::ptrdiff_t>(p));
  }
  return projected;
}

}  // namespace waterfill
