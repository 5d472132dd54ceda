#include "waterfill/index.hpp"

#include <cmath>
#include <mutex>

#include "scoring.hpp"

namespace waterfill {
IndexFlat::IndexFlat(std::shared_ptr<const Codec> codec, Metric metric)
    : codec_(std::move(codec)),
      metric_(metric),
      store_(codec_->groups(), metric == Metric::l2, codec_->lists()) {
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
  if (const Partition& cells = codec_->partition(); !cells.empty()) {
    const std::vector<float> rows = cells.from_mean();
    centroids_ = PackedMatrix(codec_->d(), cells.size(), [&](std::size_t k, std::size_t c) {
      return rows[c * codec_->d() + k];
    });
  }
  changed();
}

IndexFlat::~IndexFlat() = default;

void IndexFlat::changed() {
  scoring_ = std::make_unique<const Scoring>(*codec_, alpha(), metric_ == Metric::l2, store_);
}

Alpha IndexFlat::alpha() const {
  if (codec_->params().pq_multiplier > 0) return Alpha{0};
  return metric_ == Metric::l2 ? codec_->params().alpha_l2 : codec_->params().alpha_ip;
}

std::size_t IndexFlat::size() const {
  const std::shared_lock lock(mutex_);
  return store_.size();
}

std::size_t IndexFlat::bytes() const {
  const std::shared_lock lock(mutex_);
  return store_.bytes();
}

void IndexFlat::append(const std::uint8_t* codes, std::size_t n) {
  const CodecParams& params = codec_->params();
  const std::size_t size = codec_->code_size(), groups = codec_->groups();
  std::vector<std::uint8_t> extra(keeps_extra() ? n : 0);
  std::vector<std::uint16_t> lists(codec_->lists() > 1 ? n : 0);
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint8_t* code = codes + i * size;
    const std::size_t cell = codec_->cell_of(code);
    require(cell < codec_->lists(), "codes: row " + std::to_string(i) + " names cell " +
                                        std::to_string(cell) + " of " +
                                        std::to_string(codec_->lists()));
    if (!lists.empty()) lists[i] = static_cast<std::uint16_t>(cell);
    if (extra.empty()) continue;
    extra[i] = codec_->partition().empty()
                   ? params.cell_length.encode(codec_->squared_cell_length(code))
                   : params.offset.encode(codec_->offset(code), params.scale[code[groups]],
                                          codec_->centroid_length(cell));
  }
  const std::unique_lock lock(mutex_);
  require(n <= kMaxVectors - store_.size(),
          "an index holds at most " + std::to_string(kMaxVectors) + " vectors; use several");
  store_.append({codes, size, n, lists.empty() ? nullptr : lists.data(), extra.data()});
  changed();
}

void IndexFlat::codes(std::size_t first, std::size_t n, std::uint8_t* out) const {
  const std::shared_lock lock(mutex_);
  require(first <= store_.size() && n <= store_.size() - first,
          "rows " + std::to_string(first) + " to " + std::to_string(first + n) +
              " are not all in an index of " + std::to_string(store_.size()) + " vectors");
  const std::vector<std::uint32_t> slots = store_.slots(first, n);
  for (std::size_t i = 0; i < n; ++i) {
    const Place place = store_.locate(slots[i]);
    std::uint8_t* code = out + i * codec_->code_size();
    store_.read(place, code);
    codec_->set_cell(code, place.list);
  }
}

std::size_t IndexFlat::remove(const std::int64_t* ids, std::size_t n) {
  const std::unique_lock lock(mutex_);
  constexpr std::size_t kWord = 64;
  std::vector<std::uint64_t> drop(store_.size() / kWord + 1, 0);
  std::size_t found = 0;
  for (std::size_t i = 0; i < n; ++i) {
    if (ids[i] < 0 || static_cast<std::uint64_t>(ids[i]) >= store_.size()) continue;
    const std::size_t id = static_cast<std::size_t>(ids[i]);
    const std::uint64_t bit = std::uint64_t{1} << id % kWord;
    found += (drop[id / kWord] & bit) == 0;
    drop[id / kWord] |= bit;
  }
  if (found > 0) store_.remove(drop);
  changed();
  return found;
}

void IndexFlat::reset() {
  const std::unique_lock lock(mutex_);
  store_.clear();
  changed();
}

}  // namespace waterfill
