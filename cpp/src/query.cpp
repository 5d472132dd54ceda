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
constexpr std::size_t kFewLists = 4;      // one in so many: which they are may be estimated

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
    : codec_(codec),
      scoring_(scoring),
      estimated_(scoring.with_cells() && probes.lists == nullptr && probes.count > 0 &&
                 probes.count * kFewLists <= codec.lists()),
      lut_bytes_(plan.lut_bytes()),
      base_stride_(scoring.with_cells() ? centroids.stride() : 1),
      queries_(queries.n),
      luts_(queries.n * lut_bytes_),
      bases_(std::make_unique_for_overwrite<float[]>(queries.n * base_stride_)) {
  parallel_for((queries.n + kRotatedRows - 1) / kRotatedRows, [&](std::size_t i) {
    const std::size_t first = i * kRotatedRows, n = std::min(kRotatedRows, queries.n - first);
    prepare(plan, centroids, {queries.row(first), n, queries.d}, probes, first);
  });
}

void QueryBatch::prepare(const CoarsePlan& plan, const PackedMatrix& centroids, const Rows& rows,
                         const Probes& probes, std::size_t first) {
  const std::size_t n = rows.n, d = rows.d, stride = codec_.transform().stride();
  std::vector<float> scaled(n * d), projected(n * stride), cells(codec_.groups() * kCells);
  for (std::size_t i = 0; i < n; ++i) {
    scale(codec_, scoring_, rows.row(i), queries_[first + i], scaled.data() + i * d);
  }
  codec_.transform().queries({scaled.data(), n, d}, projected.data());
  for (std::size_t i = 0; i < n; ++i) {
    Query& query = queries_[first + i];
    const float* own = projected.data() + i * stride;
    query.projected.assign(own, own + stride);
    if (estimated_) query.scaled.assign(scaled.data() + i * d, scaled.data() + (i + 1) * d);
    codec_.cell_tables(own, query.w, cells.data());
    query.unit = quantize_tables(plan, cells.data(), codec_.groups(),
                                 luts_.data() + (first + i) * lut_bytes_);
    if (scoring_.with_cells()) query.deviation = scoring_.deviation(own);
  }
  find_bases(centroids, {scaled.data(), n, d}, probes, first);
}

void QueryBatch::find_bases(const PackedMatrix& centroids, const Rows& scaled, const Probes& probes,
                            std::size_t first) {
  float* bases = bases_.get() + first * base_stride_;
  if (!scoring_.with_cells()) {
    std::fill_n(bases, scaled.n, 0.0f);
  } else if (probes.lists == nullptr) {
    if (estimated_) {
      codec_.partition().estimate(scaled, bases, base_stride_);
    } else {
      centroids.multiply(scaled.data, scaled.n, bases);
    }
    for (std::size_t i = 0; i < scaled.n; ++i, bases += base_stride_) {
      scoring_.bases(bases, queries_[first + i].w, bases);
    }
  } else {
    for (std::size_t i = 0; i < scaled.n; ++i, bases += base_stride_) {
      const std::int64_t* lists = probes.lists + (first + i) * probes.count;
      for (std::size_t p = 0; p < probes.count; ++p) {
        if (lists[p] < 0) continue;
        const auto list = static_cast<std::size_t>(lists[p]);
        const float product = product_with_centroid(codec_, list, scaled.row(i));
        bases[list] = scoring_.base(list, product, queries_[first + i].w);
      }
    }
  }
}

void QueryBatch::settle(std::size_t i, std::size_t list) {
  if (!estimated_) return;
  const float product = product_with_centroid(codec_, list, queries_[i].scaled.data());
  bases_[i * base_stride_ + list] = scoring_.base(list, product, queries_[i].w);
}

}  // namespace waterfill
