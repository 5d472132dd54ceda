#include "waterfill/train.hpp"

#include <algorithm>
#include <limits>

#include "calibrate.hpp"
#include "kernels.hpp"
#include "waterfill/parallel.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kTaskRows = 64;
constexpr std::size_t kAlphaRows = 32768;  // base rows for the choice of alpha
constexpr std::size_t kDepthQueries = 256;
constexpr double kScaleMargin = 2;  // room beyond the training sample's scales

// Every row's coordinates in code order, without padding.
std::vector<float> project(const Transform& transform, const Rows& rows) {
  const std::size_t p = transform.p();
  std::vector<float> result(rows.n * p);
  parallel_for((rows.n + kTaskRows - 1) / kTaskRows, [&](std::size_t task) {
    const std::size_t first = task * kTaskRows, n = std::min(kTaskRows, rows.n - first);
    std::vector<float> padded(n * transform.stride()), rho(n);
    transform.directions({rows.row(first), n, rows.d}, padded.data(), rho.data());
    for (std::size_t i = 0; i < n; ++i) {
      std::copy_n(padded.data() + i * transform.stride(), p, result.data() + (first + i) * p);
    }
  });
  return result;
}

struct Extent {
  double smallest = std::numeric_limits<double>::infinity(), largest = 0;

  void include(double value) {
    if (!(value > 0)) return;
    smallest = std::min(smallest, value);
    largest = std::max(largest, value);
  }
};

// Ranges of the two side bytes over the sample.
void fit_scales(CodecParams& params, const Rows& sample) {
  const Codec codec(params);
  std::vector<float> rho(sample.n), squares(sample.n);
  parallel_for((sample.n + kTaskRows - 1) / kTaskRows, [&](std::size_t task) {
    const std::size_t first = task * kTaskRows, n = std::min(kTaskRows, sample.n - first);
    std::vector<std::uint8_t> codes(n * codec.code_size());
    codec.encode_directions({sample.row(first), n, sample.d}, codes.data(), codec.code_size(),
                            rho.data() + first);
    for (std::size_t i = 0; i < n; ++i) {
      squares[first + i] = codec.squared_cell_length(codes.data() + i * codec.code_size());
    }
  });
  Extent scales, lengths;
  for (std::size_t i = 0; i < sample.n; ++i) {
    scales.include(static_cast<double>(rho[i]) / length_power(squares[i], params.alpha_ip));
    lengths.include(squares[i]);
  }
  params.scale = LogScale::covering(scales.smallest, scales.largest, kScaleMargin);
  params.cell_length = LogScale::covering(lengths.smallest, lengths.largest, kScaleMargin);
}

}  // namespace

std::shared_ptr<Codec> train_codec(CodecParams params, const Rows& sample, const Rows& held_out,
                                   const TrainParams& train) {
  require(sample.n >= 1, "x must have at least one row to train on");
  {
    const Transform transform(params.mean, params.basis, params.weights);
    const std::vector<float> directions = project(transform, sample);
    params.codebooks = train_codebooks({directions.data(), sample.n, transform.p()}, params.shapes,
                                       train.seed, train.iterations);
  }
  const bool calibrate = held_out.n >= kFewestQueries;
  if (calibrate && params.pq_multiplier == 0) {
    const Rows base{sample.data, std::min(sample.n, kAlphaRows), sample.d};
    const Alphas alphas = calibrate_alpha(Codec(params), base, held_out);
    params.alpha_ip = alphas.ip;
    params.alpha_l2 = alphas.l2;
  }
  if (params.pq_multiplier > 0) params.alpha_ip = params.alpha_l2 = Alpha{0};
  fit_scales(params, sample);
  if (calibrate) {
    const Rows queries{held_out.data, std::min(held_out.n, kDepthQueries), held_out.d};
    const Depths depths = calibrate_depths(std::make_shared<Codec>(params), sample, queries);
    params.depth_ip = depths.ip;
    params.depth_l2 = depths.l2;
  }
  return std::make_shared<Codec>(std::move(params));
}

}  // namespace waterfill
