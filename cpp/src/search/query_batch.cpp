#include "search/query_batch.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "codec/residual.hpp"
#include "kernels.hpp"
#include "waterfill/core/thread_pool.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kTaskQueries = 16;  // queries per pass over the basis

void scale(const Codec& codec, const Scoring& scoring, const float* row, Query& query, float* out) {
  const std::vector<float>& mean = codec.params().mean;
  const bool euclidean = scoring.euclidean();
  query.exponent = scale_exponent(codec, scoring, row);
  query.w = std::ldexp(1.0f, -query.exponent);
  for (std::size_t k = 0; k < mean.size(); ++k) {
    out[k] = row[k] * query.w - (euclidean ? mean[k] * query.w : 0.0f);
  }
}

}  // namespace

int scale_exponent(const Codec& codec, const Scoring& scoring, const float* row) {
  constexpr int kLeast = -60;  // leaves room for terms that do not scale with the query
  const std::vector<float>& mean = codec.params().mean;
  float largest = largest_magnitude(row, mean.size());
  if (scoring.euclidean()) {  // w rho^2 must not overflow
    largest =
        std::max({largest, scoring.largest_rho(), largest_magnitude(mean.data(), mean.size())});
  }
  int exponent;
  std::frexp(largest, &exponent);
  return std::max(exponent, kLeast);
}

QueryBatch::QueryBatch(const Codec& codec, const Scoring& scoring, const CoarsePlan& plan,
                       const float* centroids, const Rows& queries, const Probes& probes,
                       bool with_full)
    : codec_(codec),
      scoring_(scoring),
      centroids_(centroids),
      with_full_(with_full),
      lut_bytes_(plan.lut_bytes()),
      lists_(codec.lists()),
      queries_(queries.n),
      scaled_(queries.n * queries.d),
      projected_(queries.n * codec.transform().stride()),
      luts_(queries.n * lut_bytes_),
      list_products_(scoring.with_cells() && probes.lists == nullptr
                         ? queries.n * codec.partition().estimate_stride()
                         : 0),
      list_terms_(std::make_unique_for_overwrite<float[]>(queries.n * lists_)) {
  parallel_for((queries.n + kTaskQueries - 1) / kTaskQueries, [&](std::size_t i) {
    const std::size_t first = i * kTaskQueries, n = std::min(kTaskQueries, queries.n - first);
    prepare(plan, {queries.row(first), n, queries.d}, probes, first);
  });
}

void QueryBatch::prepare(const CoarsePlan& plan, const Rows& rows, const Probes& probes,
                         std::size_t first) {
  const std::size_t n = rows.n, d = rows.d, stride = codec_.transform().stride();
  float* const scaled = scaled_.data() + first * d;
  float* const projected = projected_.data() + first * stride;
  std::vector<float> cells(padded_groups(codec_) * kCells);
  for (std::size_t i = 0; i < n; ++i) {
    scale(codec_, scoring_, rows.row(i), queries_[first + i], scaled + i * d);
  }
  if (with_full_) {
    codec_.transform().queries({scaled, n, d}, projected);
  } else {
    codec_.transform().fixed_queries({scaled, n, d}, plan.dimensions, projected);
  }
  for (std::size_t i = 0; i < n; ++i) {
    Query& query = queries_[first + i];
    query.scaled = scaled + i * d;
    query.projected = projected + i * stride;
    codec_.cell_tables(query.projected, query.w, cells.data());
    query.unit = quantize_tables(plan, cells, luts_.data() + (first + i) * lut_bytes_);
    if (!scoring_.with_cells()) continue;
    query.deviation = scoring_.deviation(query.projected, plan.dimensions);
    if (probes.lists != nullptr && codec_.partition().by_direction()) {
      query.mean_product =
          kernels().rows.product.float32(query.scaled, codec_.params().mean.data(), d);
    }
  }
  if (!scoring_.with_cells()) {
    std::fill_n(list_terms_.get() + first, n, 0.0f);
  } else if (probes.lists == nullptr) {
    std::vector<Partition::Estimate> estimates(n);
    codec_.partition().estimate(
        {scaled, n, d}, list_products_.data() + first * codec_.partition().estimate_stride(),
        estimates.data());
    for (std::size_t i = 0; i < n; ++i) queries_[first + i].lists = estimates[i];
  } else {
    for (std::size_t i = first; i < first + n; ++i) {
      const std::int64_t* lists = probes.lists + i * probes.count;
      for (std::size_t p = 0; p < probes.count; ++p) {
        if (lists[p] >= 0) compute_list_term(i, static_cast<std::size_t>(lists[p]));
      }
    }
  }
}

void QueryBatch::compute_list_term(std::size_t i, std::size_t list) {
  if (!scoring_.with_cells()) return;
  const std::size_t d = codec_.d();
  const float product =
      kernels().rows.product.float32(queries_[i].scaled, centroids_ + list * d, d);
  list_terms_[i * lists_ + list] = scoring_.list_term(list, product, queries_[i].w);
}

}  // namespace waterfill
