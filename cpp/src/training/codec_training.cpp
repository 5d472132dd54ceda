#include "waterfill/training/codec_training.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels.hpp"
#include "training/calibration.hpp"
#include "training/codebook_training.hpp"
#include "waterfill/core/interruption.hpp"
#include "waterfill/core/thread_pool.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kTaskRows = 64;
constexpr std::size_t kAlphaRows = 32768;  // base rows for the calibration of alpha
constexpr std::size_t kDepthQueries = 256;

// The coordinates of every row in code order, without padding.
std::vector<float> project(const Transform& transform, const Partition& partition,
                           const Rows& rows) {
  const std::size_t p = transform.p();
  std::vector<std::uint16_t> cells(partition.empty() ? 0 : rows.n);
  if (!cells.empty()) partition.assign(rows, cells.data());
  std::vector<float> result(rows.n * p);
  parallel_for((rows.n + kTaskRows - 1) / kTaskRows, [&](std::size_t task) {
    const std::size_t first = task * kTaskRows, n = std::min(kTaskRows, rows.n - first);
    std::vector<float> padded(n * transform.stride()), rho(n);
    const CodingCenters centers = cells.empty()
                                      ? CodingCenters{transform.mean().data()}
                                      : CodingCenters{partition.centroids().data(), &cells[first]};
    transform.directions({rows.row(first), n, rows.d}, centers, padded.data(), rho.data());
    for (std::size_t i = 0; i < n; ++i) {
      std::copy_n(padded.data() + i * transform.stride(), p, result.data() + (first + i) * p);
    }
  });
  return result;
}

// The range and mean of positive values.
struct PositiveRange {
  double smallest = std::numeric_limits<double>::infinity(), largest = 0, sum = 0, count = 0;

  void include(double value) {
    if (!(value > 0)) return;
    smallest = std::min(smallest, value);
    largest = std::max(largest, value);
    sum += value;
    ++count;
  }

  // Values below this would take precision from all others.
  double tiny() const { return count > 0 ? sum / count / 32 : 0; }

  // A scale that covers the values from `least` on, with a margin at both ends.
  LogScale scale(double least) const {
    constexpr double kMargin = 2;
    if (count == 0) return LogScale();
    return LogScale::covering(std::max(smallest, least), largest, kMargin);
  }
};

// The two parts of an offset, in units of z^2 and of z |c - mean|.
struct OffsetParts {
  double square, product;
};

OffsetParts offset_parts(const Codec& codec, const std::uint8_t* code) {
  const CodecParams& p = codec.params();
  const float power = length_power(codec.squared_cell_length(code), p.alpha_ip);
  const float length = codec.centroid_length(codec.cell_of(code));
  const float factor = power / length_power(codec.squared_length(code), p.alpha_l2);
  const float product = length > 0 ? 2 * factor * codec.centroid_product(code) / length : 0;
  return {static_cast<double>(power) * power, product};
}

// An offset scale whose ranges are proportional to the deviations of the two parts, just wide
// enough for the sample.
OffsetScale fit_offset(const Codec& codec, const std::vector<std::uint8_t>& codes,
                       const std::vector<float>& rho) {
  constexpr double kMargin = 1.1;
  std::vector<OffsetParts> parts;
  double mean = 0, squares = 0, products = 0;
  for (std::size_t i = 0; i < rho.size(); ++i) {
    parts.push_back(offset_parts(codec, codes.data() + i * codec.code_size()));
    mean += parts.back().square;
    squares += parts.back().square * parts.back().square;
    products += parts.back().product * parts.back().product;
  }
  const auto n = static_cast<double>(rho.size());
  mean /= n;
  const double norm_range = std::sqrt(std::max(0.0, squares / n - mean * mean));
  const double centroid_range = std::sqrt(products / n);
  double widest = 1;
  for (std::size_t i = 0; i < rho.size(); ++i) {
    const double z = rho[i] / std::sqrt(parts[i].square);
    const double length =
        codec.centroid_length(codec.cell_of(codes.data() + i * codec.code_size()));
    const double step = z * norm_range + length * centroid_range;
    const double gap = std::abs(z * (parts[i].square - mean) + length * parts[i].product);
    if (step > 0) widest = std::max(widest, gap / step);
  }
  return OffsetScale(mean, kMargin * widest * norm_range, kMargin * widest * centroid_range);
}

// Fits the scales of the side bytes to the sample and to the held-out rows, which are part of the
// data, too, and farther from the centroids, which were not trained on them.
void fit_scales(CodecParams& params, const Rows& sample, const Rows& held_out) {
  const Codec codec(params);
  std::vector<float> rho;
  std::vector<std::uint8_t> codes;
  std::vector<const float*> vectors;
  const auto include = [&](const Rows& rows) {
    const std::size_t before = rho.size();
    rho.resize(before + rows.n);
    codes.resize(rho.size() * codec.code_size());
    for (std::size_t i = 0; i < rows.n; ++i) vectors.push_back(rows.row(i));
    parallel_for((rows.n + kTaskRows - 1) / kTaskRows, [&](std::size_t task) {
      const std::size_t first = task * kTaskRows, n = std::min(kTaskRows, rows.n - first);
      codec.encode_directions({rows.row(first), n, rows.d},
                              codes.data() + (before + first) * codec.code_size(),
                              rho.data() + before + first);
    });
  };
  include(sample);
  include(held_out);
  PositiveRange distances, scales, lengths, centroids;
  bool near_rows = false;
  for (const float distance : rho) distances.include(distance);
  for (std::size_t i = 0; i < rho.size(); ++i) {
    const float squares = codec.squared_cell_length(codes.data() + i * codec.code_size());
    if (rho[i] >= distances.tiny()) {
      scales.include(static_cast<double>(rho[i]) / length_power(squares, params.alpha_ip));
    } else if (!within_rounding(rho[i], vectors[i], sample.d)) {
      near_rows = true;
    }
    lengths.include(squares);
  }
  // If every row is its own centroid, use the distances of the centroids from the mean.
  for (std::size_t c = 0; c < params.partition.size() && scales.count == 0; ++c) {
    centroids.include(params.partition.length(c));
  }
  // Rows that nearly equal the centroid of their cell, such as near duplicates, must not be moved
  // away from it; a range down to `tiny` is enough, and costs the other rows little precision.
  if (near_rows) scales.smallest = std::min(scales.smallest, scales.tiny());
  params.scale = scales.count == 0 ? centroids.scale(centroids.tiny()) : scales.scale(0);
  params.cell_length = lengths.scale(lengths.tiny());
  if (!params.partition.empty()) params.offset = fit_offset(codec, codes, rho);
}

}  // namespace

std::shared_ptr<Codec> train_codec(CodecParams params, const Rows& sample, const Rows& held_out,
                                   const TrainParams& train) {
  require(sample.n >= 1, "sample must have at least one row");
  require(!train.shared || params.second_bytes.empty(), "shared codebooks have no second bytes");
  if (!train.with_codebooks) {
    const Transform transform(params.mean, params.basis, params.weights);
    std::vector<float> directions = project(transform, params.partition, sample);
    params.codebooks =
        train.shared
            ? train_shared_codebooks(directions, params.shapes, train.seed, train.iterations)
            : train_codebooks(directions, params.shapes, params.second_bytes, train.seed,
                              train.iterations);
  }
  // Joint encoding gains nothing if a dimension has two bytes, and the second byte depends on the
  // first.
  if (!params.second_bytes.empty() || params.pq_multiplier > 0) params.joint = 0;
  const bool calibrate = held_out.n >= kFewestQueries;
  if (train.alpha.has_value()) {
    params.alpha_ip = params.alpha_l2 = *train.alpha;
  } else if (calibrate && params.pq_multiplier == 0) {
    const Rows base{sample.data, std::min(sample.n, kAlphaRows), sample.d};
    const Alphas alphas = calibrate_alpha(Codec(params), base, held_out);
    params.alpha_ip = alphas.ip;
    params.alpha_l2 = alphas.l2;
    params.recall_ip = alphas.recall_ip;
    params.recall_l2 = alphas.recall_l2;
  }
  if (params.pq_multiplier > 0) params.alpha_ip = params.alpha_l2 = Alpha{0};
  fit_scales(params, sample, held_out);
  count_work(kTrainingWork - kCodebookWork - kAlphaWork - kSearchWork);
  if (calibrate) {
    const Rows queries{held_out.data, std::min(held_out.n, kDepthQueries), held_out.d};
    const SearchCalibration found =
        calibrate_search(std::make_shared<Codec>(params), sample, queries);
    params.depth_ip = found.depth_ip;
    params.depth_l2 = found.depth_l2;
    params.list_recall_ip = found.list_recall_ip;
    params.list_recall_l2 = found.list_recall_l2;
    if (!params.partition.empty()) params.calibration_rows = static_cast<std::uint32_t>(sample.n);
  }
  return std::make_shared<Codec>(std::move(params));
}

}  // namespace waterfill
