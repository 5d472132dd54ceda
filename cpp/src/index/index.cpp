#include "waterfill/index/index.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <mutex>

#include "search/id_filter.hpp"
#include "search/reranking.hpp"
#include "search/scoring.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kMergedVectors = 65536;  // whose codes are in hand at a time

std::int64_t shifted(std::int64_t id, std::int64_t shift) {
  std::int64_t sum = 0;
  const bool beyond = __builtin_add_overflow(id, shift, &sum);
  require(!beyond && sum != -1,
          "add_id=" + std::to_string(shift) + " makes id " + std::to_string(id) +
              " of otherIndex " +
              (beyond ? "one beyond int64" : "-1, which stands for a missing result"));
  return sum;
}

}  // namespace

Index::Index(std::shared_ptr<const Codec> codec, Metric metric)
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
  if (!codec_->partition().empty()) centroids_ = codec_->partition().from_mean();
  changed();
}

Index::~Index() = default;

void Index::changed() {
  scoring_ = std::make_unique<const Scoring>(*codec_, alpha(), metric_ == Metric::l2, store_);
  lookup_.reset();
  filter_.reset();
  ++version_;
}

std::uint64_t Index::version() const {
  const std::shared_lock lock(mutex_);
  return version_;
}

IndexView Index::view() const {
  return {
      *codec_, store_, *scoring_, centroids_.data(), ids_, exact_.get(), metric_ == Metric::cosine};
}

std::shared_ptr<const CoarsePlan> Index::coarse_plan(std::size_t groups) const {
  if (groups == 0) groups = codec_->groups();
  const std::unique_lock own(kept_mutex_);
  if (coarse_plan_ == nullptr || coarse_plan_->groups != groups) {
    coarse_plan_ = std::make_shared<const CoarsePlan>(*codec_, groups);
  }
  return coarse_plan_;
}

std::shared_ptr<const Filter> Index::filter(const Selector* selector) const {
  const auto make = [&] { return std::make_shared<const Filter>(store_, ids_, selector); };
  if (selector == nullptr) return make();
  const std::unique_lock own(kept_mutex_);
  if (filter_ == nullptr || !filter_->is_for(*selector)) filter_ = make();
  return filter_;
}

Alpha Index::alpha() const {
  if (codec_->params().pq_multiplier > 0) return Alpha{0};
  return metric_ == Metric::l2 ? codec_->params().alpha_l2 : codec_->params().alpha_ip;
}

std::size_t Index::size() const {
  const std::shared_lock lock(mutex_);
  return store_.size();
}

std::size_t Index::bytes() const {
  const std::shared_lock lock(mutex_);
  return store_.bytes() + ids_.bytes() + (exact_ != nullptr ? exact_->bytes() : 0);
}

std::vector<std::size_t> Index::list_sizes() const {
  const std::shared_lock lock(mutex_);
  std::vector<std::size_t> sizes;
  for (const List& list : store_.lists()) sizes.push_back(list.size);
  return sizes;
}

void Index::keep_exact(ExactRows rows) {
  const std::unique_lock lock(mutex_);
  require(rows.d() == codec_->d(), "refine has " + std::to_string(rows.d()) +
                                       " dimensions; the index has " + std::to_string(codec_->d()));
  require(rows.borrowed() || rows.size() == store_.size(),
          "refine: " + std::to_string(rows.size()) + " rows for an index of " +
              std::to_string(store_.size()) + " vectors");
  exact_ = std::make_unique<ExactRows>(std::move(rows));
  if (!exact_->borrowed()) return;
  try {
    std::vector<std::int64_t> ids(store_.size());
    for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = ids_[i];
    require_rows(ids.size(), ids.data());
  } catch (...) {
    exact_.reset();
    throw;
  }
}

std::optional<RowKind> Index::exact_kind() const {
  const std::shared_lock lock(mutex_);
  if (exact_ == nullptr) return std::nullopt;
  return exact_->kind();
}

void Index::append_exact(const Rows& rows, std::uint64_t first_row) {
  const std::unique_lock lock(mutex_);
  exact_->append(rows, "x", first_row);
}

void Index::drop_exact() {
  const std::unique_lock lock(mutex_);
  if (exact_ != nullptr && !exact_->borrowed()) exact_->truncate(store_.size());
}

// Borrowed rows are found by id: each must have one.
void Index::require_rows(std::size_t n, const std::int64_t* ids) const {
  if (exact_ == nullptr || !exact_->borrowed()) return;
  for (std::size_t i = 0; i < n; ++i) {
    const std::int64_t id = ids != nullptr ? ids[i] : static_cast<std::int64_t>(store_.size() + i);
    require(id >= 0 && static_cast<std::uint64_t>(id) < exact_->size(),
            "id " + std::to_string(id) + " has no row in refine, an array of " +
                std::to_string(exact_->size()));
  }
}

void Index::append(const std::uint8_t* codes, std::size_t n, const std::int64_t* ids) {
  const std::unique_lock lock(mutex_);
  require_rows(n, ids);
  append_locked(codes, n, ids);
  changed();
}

void Index::append_locked(const std::uint8_t* codes, std::size_t n, const std::int64_t* ids) {
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
  require(n <= kMaxVectors - store_.size(),
          "an index holds at most " + std::to_string(kMaxVectors) + " vectors; use several");
  const bool had_ids = ids_.given();
  ids_.append(n, ids);
  try {
    store_.append({codes, size, n, lists.empty() ? nullptr : lists.data(), extra.data()});
  } catch (...) {
    ids_.truncate(store_.size(), had_ids);
    throw;
  }
}

void Index::require_labels(std::size_t first, std::size_t n) const {
  require(first <= store_.size() && n <= store_.size() - first,
          "rows " + std::to_string(first) + " to " + std::to_string(first + n) +
              " are not all in an index of " + std::to_string(store_.size()) + " vectors");
}

void Index::read_codes(std::size_t first, std::size_t n, std::uint8_t* out) const {
  const std::vector<std::uint32_t> slots = store_.slots(first, n);
  for (std::size_t i = 0; i < n; ++i) {
    const Place place = store_.locate(slots[i]);
    std::uint8_t* code = out + i * codec_->code_size();
    store_.read(place, code);
    codec_->set_cell(code, place.list);
  }
}

void Index::codes(std::size_t first, std::size_t n, std::uint8_t* out) const {
  const std::shared_lock lock(mutex_);
  require_labels(first, n);
  read_codes(first, n, out);
}

void Index::ids(std::size_t first, std::size_t n, std::int64_t* out) const {
  const std::shared_lock lock(mutex_);
  require_labels(first, n);
  for (std::size_t i = 0; i < n; ++i) out[i] = ids_[first + i];
}

void Index::exact(std::size_t first, std::size_t n, float* out) const {
  const std::shared_lock lock(mutex_);
  require_labels(first, n);
  const IndexView view = this->view();
  for (std::size_t i = 0; i < n; ++i) {
    exact_->read(static_cast<std::size_t>(view.row_of(first + i)), out + i * codec_->d());
  }
}

void Index::merge(Index& other, std::int64_t shift) {
  require(this != &other, "other_index is the index itself");
  const std::scoped_lock lock(mutex_, other.mutex_);
  const bool exact = exact_ != nullptr;
  require(exact == (other.exact_ != nullptr) &&
              (!exact || (exact_->kind() == other.exact_->kind() &&
                          exact_->borrowed() == other.exact_->borrowed())),
          "other_index keeps other rows to refine with");
  const std::size_t before = store_.size(), count = other.store_.size();
  const bool had_ids = ids_.given();
  std::vector<std::int64_t> ids(had_ids || other.ids_.given() ? count : 0);
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = shifted(other.ids_[i], shift);
  require_rows(count, ids.empty() ? nullptr : ids.data());
  try {
    std::vector<std::uint8_t> codes(std::min(count, kMergedVectors) * codec_->code_size());
    for (std::size_t first = 0; first < count; first += kMergedVectors) {
      const std::size_t n = std::min(kMergedVectors, count - first);
      other.read_codes(first, n, codes.data());
      append_locked(codes.data(), n, ids.empty() ? nullptr : ids.data() + first);
    }
    if (exact && !exact_->borrowed()) exact_->merge(std::move(*other.exact_));
  } catch (...) {
    Bits drop(words_for(store_.size()), 0);
    for (std::size_t i = before; i < store_.size(); ++i) set_bit(drop, i);
    store_.remove(drop);
    ids_.truncate(before, had_ids);
    changed();
    throw;
  }
  other.store_.clear();
  other.ids_.clear();
  other.changed();
  changed();
}

bool Index::has_ids() const {
  const std::shared_lock lock(mutex_);
  return ids_.given();
}

void Index::keep_ids() {
  const std::unique_lock lock(mutex_);
  ids_.keep();
  lookup_.reset();
  filter_.reset();
  ++version_;
}

void Index::find(const std::int64_t* ids, std::size_t n, std::int64_t* labels) const {
  const std::shared_lock lock(mutex_);
  const std::unique_lock own(kept_mutex_);
  if (lookup_ == nullptr) lookup_ = std::make_unique<const Ids::Lookup>(ids_);
  for (std::size_t i = 0; i < n; ++i) labels[i] = lookup_->last(ids[i]);
}

std::size_t Index::remove(const Selector& selector) {
  const std::unique_lock lock(mutex_);
  const Bits drop = selector.of(ids_);
  std::size_t found = 0;
  for (const std::uint64_t word : drop) found += static_cast<std::size_t>(std::popcount(word));
  if (found == 0) return 0;
  require(exact_ == nullptr || !exact_->borrowed() || ids_.given(),
          "ids: rows of refine are found by id, and removal would number vectors anew; add vectors "
          "with ids of their own");
  if (exact_ != nullptr && !exact_->borrowed()) exact_->remove(drop);
  ids_.remove(drop);
  store_.remove(drop);
  changed();
  return found;
}

void Index::reset() {
  const std::unique_lock lock(mutex_);
  store_.clear();
  ids_.clear();
  if (exact_ != nullptr && !exact_->borrowed()) exact_->clear();
  changed();
}

}  // namespace waterfill
