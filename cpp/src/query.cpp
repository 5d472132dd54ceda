#include "query.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "kernels.hpp"
#include "waterfill/parallel.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kRotatedRows = 16;  // queries that one pass over the basis rotates

// The row, from the mean if distances are Euclidean, times a power of two that brings the largest
// number of its scores to 1 or below (and tiny ones nearer to 1).
void scale(const Codec& codec, const Scoring& scoring, const float* row, Query& query, float* out) {
  constexpr int kLeast = -60;  // leaves room for what is not of the query's size
  const std::vector<float>& mean = codec.params().mean;
  const bool euclidean = scoring.euclidean();
  float largest = euclidean ? scoring.largest_rho() : 0;  // w rho^2 must not overflow either
  for (std::size_t k = 0; k < mean.size(); ++k) {
    largest = std::max({largest, std::abs(row[k]), euclidean ? std::abs(mean[k]) : 0.0f});
  }
  std::frexp(largest, &query.exponent);
  query.exponent = std::max(query.exponent, kLeast);
  query.w = std::ldexp(1.0f, -query.exponent);
  for (std::size_t k = 0; k < mean.size(); ++k) {
    out[k] = row[k] * query.w - (euclidean ? mean[k] * query.w : 0.0f);
  }
}

// With the centroid of a cell from the mean.
float product_with_centroid(const Codec& codec, std::size_t cell, const float* query) {
  const float *centroid = codec.partition().centroid(cell), *mean = codec.params().mean.data();
  constexpr std::size_t kWays = 16;  // sums that do not wait for each other
  std::array<float, kWays> sums{};
  std::size_t k = 0;
  for (; k + kWays <= codec.d(); k += kWays) {
    for (std::size_t i = 0; i < kWays; ++i) {
      sums[i] += query[k + i] * (centroid[k + i] - mean[k + i]);
    }
  }
  for (; k < codec.d(); ++k) sums[0] += query[k] * (centroid[k] - mean[k]);
  return std::accumulate(sums.begin(), sums.end(), 0.0f);
}

}  // namespace

QueryBatch::QueryBatch(const Codec& codec, const Scoring& scoring, const CoarsePlan& plan,
                       const PackedMatrix& centroids, const Rows& queries, const Probes& probes)
    : lut_bytes_(plan.lut_bytes()),
      base_stride_(scoring.with_cells() ? centroids.stride() : 1),
      queries_(queries.n),
      luts_(queries.n * lut_bytes_),
      bases_(std::make_unique_for_overwrite<float[]>(queries.n * base_stride_)) {
  parallel_for((queries.n + kRotatedRows - 1) / kRotatedRows, [&](std::size_t i) {
    const std::size_t first = i * kRotatedRows, n = std::min(kRotatedRows, queries.n - first);
    prepare(codec, scoring, plan, centroids, {queries.row(first), n, queries.d}, probes, first);
  });
}

void QueryBatch::prepare(const Codec& codec, const Scoring& scoring, const CoarsePlan& plan,
                         const PackedMatrix& centroids, const Rows& rows, const Probes& probes,
                         std::size_t first) {
  const std::size_t n = rows.n, d = rows.d, stride = codec.transform().stride();
  std::vector<float> scaled(n * d), projected(n * stride);
  for (std::size_t i = 0; i < n; ++i) {
    scale(codec, scoring, rows.row(i), queries_[first + i], scaled.data() + i * d);
  }
  codec.transform().queries({scaled.data(), n, d}, projected.data());
  float* all_bases = bases_.get() + first * base_stride_;
  if (scoring.with_cells() && probes.lists == nullptr) {
    centroids.multiply(scaled.data(), n, all_bases);
  } else if (!scoring.with_cells()) {
    std::fill_n(all_bases, n, 0.0f);
  }
  std::vector<float> cells(codec.groups() * kCells);
  for (std::size_t i = 0; i < n; ++i) {
    Query& query = queries_[first + i];
    const float* own = projected.data() + i * stride;
    query.projected.assign(own, own + stride);
    codec.cell_tables(own, query.w, cells.data());
    query.unit = quantize_tables(plan, cells.data(), codec.groups(),
                                 luts_.data() + (first + i) * lut_bytes_);
    if (!scoring.with_cells()) continue;
    query.deviation = scoring.deviation(own);
    float* bases = all_bases + i * base_stride_;
    if (probes.lists == nullptr) {
      scoring.bases(bases, query.w, bases);
      continue;
    }
    const std::int64_t* lists = probes.lists + (first + i) * probes.count;
    for (std::size_t p = 0; p < probes.count; ++p) {
      if (lists[p] < 0) continue;
      const auto list = static_cast<std::size_t>(lists[p]);
      const float product = product_with_centroid(codec, list, scaled.data() + i * d);
      bases[list] = scoring.base(list, product, query.w);
    }
  }
}

}  // namespace waterfill
