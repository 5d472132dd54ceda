#include "waterfill/index.hpp"

#include <cmath>
#include <mutex>

namespace waterfill {
namespace {

// Even where all training vectors have one norm: those that are added later may not.
bool needs_cell_length(Metric metric) {
  return metric == Metric::l2;
}

}  // namespace

IndexFlat::IndexFlat(std::shared_ptr<const Codec> codec, Metric metric)
    : codec_(std::move(codec)),
      metric_(metric),
      store_(codec_->groups(), needs_cell_length(metric)) {
  const CodecParams& params = codec_->params();
  require(params.pq_multiplier == 0 || metric != Metric::l2,
          "metric='l2' does not go with a plan that has pq_multiplier: the published score is an "
          "inner product");
  require(metric == Metric::cosine || !params.normalize,
          "metric: a codec trained with normalize=True needs metric='cosine'");
  constexpr double kUnit = 0.01;
  require(
      metric != Metric::cosine || params.normalize || std::abs(params.constant_norm - 1) <= kUnit,
      "metric='cosine' needs a codec trained on normalised vectors; use "
      "wf.analyze(x, normalize=True)");
}

Alpha IndexFlat::alpha() const {
  if (codec_->params().pq_multiplier > 0) return Alpha{0};
  return metric_ == Metric::l2 ? codec_->params().alpha_l2 : codec_->params().alpha_ip;
}

bool IndexFlat::keeps_cell_length() const {
  return needs_cell_length(metric_);
}

std::size_t IndexFlat::size() const {
  const std::shared_lock lock(mutex_);
  return store_.size();
}

void IndexFlat::append(const std::uint8_t* codes, std::size_t n) {
  std::vector<std::uint8_t> extra;
  if (keeps_cell_length()) {
    extra.resize(n);
    for (std::size_t i = 0; i < n; ++i) {
      extra[i] = codec_->params().cell_length.encode(
          codec_->squared_cell_length(codes + i * codec_->code_size()));
    }
  }
  const std::unique_lock lock(mutex_);
  require(n <= kMaxVectors - store_.size(),
          "an index holds at most " + std::to_string(kMaxVectors) + " vectors; use several");
  store_.append(codes, extra.data(), n);
}

void IndexFlat::codes(std::size_t first, std::size_t n, std::uint8_t* out) const {
  const std::shared_lock lock(mutex_);
  require(first <= store_.size() && n <= store_.size() - first,
          "rows " + std::to_string(first) + " to " + std::to_string(first + n) +
              " are not all in an index of " + std::to_string(store_.size()) + " vectors");
  for (std::size_t i = 0; i < n; ++i) store_.read(first + i, out + i * codec_->code_size());
}

std::size_t IndexFlat::remove(const std::int64_t* ids, std::size_t n) {
  const std::unique_lock lock(mutex_);
  std::vector<bool> drop(store_.size(), false);
  std::size_t found = 0;
  for (std::size_t i = 0; i < n; ++i) {
    if (ids[i] < 0 || static_cast<std::uint64_t>(ids[i]) >= store_.size()) continue;
    const std::size_t id = static_cast<std::size_t>(ids[i]);
    found += !drop[id];
    drop[id] = true;
  }
  if (found > 0) store_.remove(drop);
  return found;
}

void IndexFlat::reset() {
  const std::unique_lock lock(mutex_);
  store_.clear();
}

}  // namespace waterfill
