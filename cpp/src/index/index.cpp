#include "waterfill/index/index.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <mutex>
#include <numeric>
#include <stdexcept>
#include <utility>

#include "index/index_view.hpp"
#include "search/coarse_tables.hpp"
#include "search/id_filter.hpp"
#include "search/scoring.hpp"
#include "waterfill/core/interruption.hpp"
#include "waterfill/core/thread_pool.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kMergedVectors = 65536;  // vectors per step of a merge
constexpr std::size_t kCoarsePlans = 4;     // that are kept: searches of few lists have another one
constexpr std::size_t kTaskVectors = 8192;  // vectors whose places are computed together

std::int64_t shifted(std::int64_t id, std::int64_t add_id) {
  std::int64_t sum = 0;
  const bool beyond = __builtin_add_overflow(id, add_id, &sum);
  require(!beyond && sum != -1,
          "add_id " + std::to_string(add_id) + " takes id " + std::to_string(id) +
              " of the other index " +
              (beyond ? "beyond int64" : "to -1, which stands for a missing result"));
  return sum;
}

// A fixed order, so that two merges do not wait for each other.
std::pair<ForkSafeLocks*, ForkSafeLocks*> ordered(ForkSafeLocks& a, ForkSafeLocks& b) {
  return std::less<>()(&a, &b) ? std::pair(&a, &b) : std::pair(&b, &a);
}

}  // namespace

Index::Index(std::shared_ptr<const Codec> codec, Metric metric)
    : codec_(std::move(codec)), metric_(metric), store_(empty_store()) {
  const CodecParams& params = codec_->params();
  require(
      params.pq_multiplier == 0 || metric != Metric::l2,
      "metric l2 cannot be used with a plan that has a pq_multiplier: the published score is an "
      "inner product");
  require(metric == Metric::cosine || !params.normalize,
          "a codec of normalized vectors needs the metric cosine");
  constexpr double kUnit = 0.01;
  require(
      metric != Metric::cosine || params.normalize || std::abs(params.constant_norm - 1) <= kUnit,
      "metric cosine needs a codec of normalized vectors; set normalize in the analysis");
  if (!codec_->partition().empty()) centroids_ = codec_->partition().from_mean();
  loaded();
}

Index::~Index() = default;

CodeStore Index::empty_store() const {
  return {codec_->groups(), keeps_extra(), codec_->lists()};
}

Index::ScoringPointer Index::scoring_of(const std::vector<ListRange>& lists) const {
  return std::make_unique<const Scoring>(*codec_, alpha(), metric_ == Metric::l2, lists);
}

void Index::loaded() {
  changed(scoring_of(store_.ranges()));
}

// The last step of every change. scoring: for the new contents.
void Index::changed(ScoringPointer scoring) noexcept {
  scoring_ = std::move(scoring);
  if (!marks_removals_) lookup_.reset();  // otherwise it takes in what is appended
  filter_.reset();
  size_ = store_.live();
  has_ids_ = ids_.is_explicit();
  ++version_;
}

IndexView Index::view() const {
  return {*codec_,
          store_,
          *scoring_,
          centroids_.data(),
          ids_,
          refine_rows_.get(),
          metric_ == Metric::cosine};
}

std::shared_ptr<const CoarsePlan> Index::coarse_plan(std::size_t groups) const {
  if (groups == 0) groups = codec_->groups();
  const std::unique_lock own(locks_.caches);
  for (const std::shared_ptr<const CoarsePlan>& plan : coarse_plans_) {
    if (plan->groups == groups) return plan;
  }
  if (coarse_plans_.size() == kCoarsePlans) coarse_plans_.erase(coarse_plans_.begin());
  return coarse_plans_.emplace_back(std::make_shared<const CoarsePlan>(*codec_, groups));
}

std::shared_ptr<const IdFilter> Index::filter(const Selector* selector) const {
  const auto make = [&] { return std::make_shared<const IdFilter>(store_, ids_, selector); };
  if (selector == nullptr) return make();
  const std::unique_lock own(locks_.caches);
  if (filter_ == nullptr || !filter_->is_for(*selector)) filter_ = make();
  return filter_;
}

Alpha Index::alpha() const {
  if (codec_->params().pq_multiplier > 0) return Alpha{0};
  return metric_ == Metric::l2 ? codec_->params().alpha_l2 : codec_->params().alpha_ip;
}

std::size_t Index::bytes() const {
  const std::shared_lock lock(locks_.state);
  return store_.bytes() + ids_.bytes() + (refine_rows_ != nullptr ? refine_rows_->bytes() : 0);
}

std::size_t Index::id_bytes() const {
  const std::shared_lock lock(locks_.state);
  return ids_.file_bytes();
}

std::vector<std::size_t> Index::list_sizes() const {
  const std::shared_lock lock(locks_.state);
  std::vector<std::size_t> sizes;
  sizes.reserve(store_.lists().size());
  for (std::size_t l = 0; l < store_.lists().size(); ++l) sizes.push_back(store_.count(l));
  return sizes;
}

void Index::keep_refine_rows(RefineRows rows) {
  const std::unique_lock lock(locks_.state);
  require(rows.d() == codec_->d(), "refine has " + std::to_string(rows.d()) +
                                       " dimensions, expected " + std::to_string(codec_->d()));
  require(rows.borrowed() || rows.size() == store_.size(),
          "got " + std::to_string(rows.size()) + " refine rows, expected one for each of " +
              std::to_string(store_.size()) + " vectors");
  refine_rows_ = std::make_unique<RefineRows>(std::move(rows));
  if (!refine_rows_->borrowed()) return;
  try {
    std::vector<std::int64_t> ids(store_.size());
    for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = ids_[i];
    require_borrowed_rows(ids.size(), ids.data());
  } catch (...) {
    refine_rows_.reset();
    throw;
  }
}

std::optional<RowKind> Index::refine_row_kind() const {
  if (refine_rows_ == nullptr) return std::nullopt;
  return refine_rows_->kind();
}

// Borrowed rows are found by id: each id must have one.
void Index::require_borrowed_rows(std::size_t n, const std::int64_t* ids) const {
  if (refine_rows_ == nullptr || !refine_rows_->borrowed()) return;
  for (std::size_t i = 0; i < n; ++i) {
    const std::int64_t id = ids != nullptr ? ids[i] : ids_.next() + static_cast<std::int64_t>(i);
    require(id >= 0 && static_cast<std::uint64_t>(id) < refine_rows_->size(),
            "id " + std::to_string(id) + " has no row in refine, an array of " +
                std::to_string(refine_rows_->size()));
  }
}

Index::Checkpoint Index::checkpoint() const {
  return {store_.checkpoint(), ids_.checkpoint(), store_.size()};
}

void Index::restore(const Checkpoint& checkpoint) noexcept {
  store_.restore(checkpoint.store);
  ids_.restore(checkpoint.ids);
  if (owns_refine_rows()) refine_rows_->truncate(checkpoint.size);
}

void Index::append(const std::uint8_t* codes, std::size_t n, const std::int64_t* ids,
                   RefineRows* rows, const Selector* replaced) {
  const Places places = places_of(codes, n);
  const auto check = [&] {
    require(owns_refine_rows() == (rows != nullptr),
            rows != nullptr ? "the index keeps no refine rows of its own"
                            : "the index needs a refine row for each vector");
    require(rows == nullptr || rows->size() == n,
            "got " + std::to_string(rows != nullptr ? rows->size() : 0) +
                " refine rows, expected " + std::to_string(n));
    require_borrowed_rows(n, ids);
  };
  const auto append_all = [&] {
    if (rows != nullptr) refine_rows_->merge(std::move(*rows));
    append_codes(codes, n, ids, places);
  };
  if (marks_removals_) {
    change_marked(replaced, [&] {
      check();
      append_all();
    });
    return;
  }
  const std::unique_lock lock(locks_.state);
  check();
  Bits drop = replaced != nullptr ? replaced->of(ids_) : Bits();
  const Checkpoint before = checkpoint();
  std::optional<CodeStore::Removal> removal;
  ScoringPointer scoring;
  try {
    append_all();
    if (replaced != nullptr) {
      drop.resize(words_for(store_.size()), 0);
      removal = store_.prepare_removal(std::move(drop));
    }
    scoring = scoring_of(removal.has_value() ? removal->ranges() : store_.ranges());
  } catch (...) {
    restore(before);
    throw;
  }
  if (removal.has_value()) take_out(std::move(*removal));
  changed(std::move(scoring));
}

// Calls `change`, which may append, and marks the vectors of before that a selector selects as
// removed; returns their number. They are looked up while searches run, unless the index changes
// meanwhile.
template <class Change>
std::size_t Index::change_marked(const Selector* selector, Change change) {
  std::vector<std::uint32_t> labels;
  std::uint64_t version = 0;
  if (selector != nullptr) {
    const std::shared_lock lock(locks_.state);
    version = version_;
    labels = selected_labels(*selector);
  }
  const std::unique_lock lock(locks_.state);
  if (selector != nullptr && version != version_) labels = selected_labels(*selector);
  const Checkpoint before = checkpoint();
  std::optional<std::vector<std::uint32_t>> marked;  // slots
  ScoringPointer scoring;
  try {
    change();
    marked = store_.mark_removed(labels);
    scoring = scoring_of(store_.ranges());
  } catch (...) {
    if (marked.has_value()) store_.unmark_removed(labels, *marked);
    restore(before);
    if (lookup_ != nullptr) lookup_.reset();
    throw;
  }
  changed(std::move(scoring));
  return labels.size();
}

void Index::attach(const std::vector<IndexPart>& parts,
                   const std::vector<std::vector<std::uint32_t>>& removed) {
  require(parts.size() == removed.size(), "each part needs its removed vectors");
  std::vector<std::uint32_t> labels;
  for (std::size_t p = 0; p < parts.size(); ++p) {
    const IndexPart& part = parts[p];
    require((refine_rows_ != nullptr) == (part.rows != nullptr), "refine rows of a part");
    const auto base = static_cast<std::uint32_t>(store_.size());
    memory_.push_back(part.memory);
    store_.attach(part.codes);
    ids_.attach(part.ids);
    if (part.rows != nullptr) refine_rows_->attach(part.rows, part.codes.size);
    for (const std::uint32_t label : removed[p]) {
      require(label < part.codes.size && (labels.empty() || base + label > labels.back()),
              "labels of removed vectors must ascend and name vectors of their part");
      labels.push_back(base + label);
    }
  }
  marks_removals_ = true;
  store_.mark_removed(labels);
  loaded();
}

void Index::raise_next_id(std::int64_t next) {
  const std::unique_lock lock(locks_.state);
  ids_.raise_next(next);
  if (ids_.is_explicit() != has_ids_) changed(std::move(scoring_));
}

std::int64_t Index::next_id() const {
  const std::shared_lock lock(locks_.state);
  return ids_.next();
}

Index::Places Index::places_of(const std::uint8_t* codes, std::size_t n) const {
  const CodecParams& params = codec_->params();
  const std::size_t size = codec_->code_size(), groups = codec_->groups();
  Places places;
  places.extra.resize(keeps_extra() ? n : 0);
  places.lists.resize(codec_->lists() > 1 ? n : 0);
  const auto place = [&](std::size_t i) {
    const std::uint8_t* code = codes + i * size;
    const std::size_t cell = codec_->cell_of(code);
    if (cell >= codec_->lists()) {
      throw InvalidArgument("codes: row " + std::to_string(i) + " names cell " +
                            std::to_string(cell) + " of " + std::to_string(codec_->lists()));
    }
    if (!places.lists.empty()) places.lists[i] = static_cast<std::uint16_t>(cell);
    if (places.extra.empty()) return;
    places.extra[i] = codec_->partition().empty()
                          ? params.cell_length.encode(codec_->squared_cell_length(code))
                          : params.offset.encode(codec_->offset(code), params.scale[code[groups]],
                                                 codec_->centroid_length(cell));
  };
  parallel_for((n + kTaskVectors - 1) / kTaskVectors, [&](std::size_t task) {
    const std::size_t end = std::min(n, (task + 1) * kTaskVectors);
    for (std::size_t i = task * kTaskVectors; i < end; ++i) place(i);
  });
  return places;
}

// If this throws, the caller must restore a checkpoint.
void Index::append_codes(const std::uint8_t* codes, std::size_t n, const std::int64_t* ids,
                         const Places& places) {
  require(n <= kMaxVectors - store_.size(),
          "an index holds at most " + std::to_string(kMaxVectors) + " vectors; use several");
  ids_.append(n, ids);
  store_.append({codes, codec_->code_size(), n,
                 places.lists.empty() ? nullptr : places.lists.data(), places.extra.data()});
}

// The ids that the vectors of another index get here; empty for the next ones.
std::vector<std::int64_t> Index::ids_for(const Index& other, std::int64_t add_id) const {
  const bool either = ids_.is_explicit() || other.ids_.is_explicit();
  if (!either || (!other.ids_.is_explicit() && add_id == 0)) return {};
  const Ids::Lookup own(ids_);
  const auto known = [&](std::int64_t id) {
    bool found = false;
    own.each(id, [&](std::size_t) { return found = true; });
    return found;
  };
  std::vector<std::int64_t> ids(other.store_.size());
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = shifted(other.ids_[i], add_id);
  for (const std::int64_t id : ids) {
    if (!known(id)) continue;
    throw InvalidArgument("otherIndex: id " + std::to_string(id) +
                          " is already in this index; pass another add_id, for example add_id=" +
                          std::to_string(ids_.next()));
  }
  return ids;
}

std::vector<std::int64_t> Index::merged_ids(const Index& other, std::int64_t add_id) const {
  require(this != &other, "the other index is the index itself");
  const auto [first, second] = ordered(locks_, other.locks_);
  const std::shared_lock own(first->state), others(second->state);
  std::vector<std::int64_t> ids = ids_for(other, add_id);
  if (ids.empty()) {
    ids.resize(other.store_.size());
    std::iota(ids.begin(), ids.end(), ids_.next());
  }
  return ids;
}

void Index::merge(Index& other, std::int64_t add_id) {
  require(this != &other, "the other index is the index itself");
  if (marks_removals_ || other.marks_removals_) {
    throw std::logic_error("an index with mapped parts cannot be merged");
  }
  // A fork waits for changes with the GIL, which a look for Ctrl-C would wait for.
  const InterruptionScope none(nullptr);
  const auto [first_locks, second_locks] = ordered(locks_, other.locks_);
  const std::unique_lock own(first_locks->state), others(second_locks->state);
  const bool refined = refine_rows_ != nullptr;
  require(refined == (other.refine_rows_ != nullptr) &&
              (!refined || (refine_rows_->kind() == other.refine_rows_->kind() &&
                            refine_rows_->borrowed() == other.refine_rows_->borrowed())),
          "the other index keeps refine rows of another kind");
  const std::size_t count = other.store_.size();
  const std::vector<std::int64_t> ids = ids_for(other, add_id);
  require_borrowed_rows(count, ids.empty() ? nullptr : ids.data());
  CodeStore emptied = other.empty_store();
  ScoringPointer scoring, scoring_of_emptied = other.scoring_of(emptied.ranges());
  const Checkpoint before = checkpoint();
  try {
    std::vector<std::uint8_t> codes(std::min(count, kMergedVectors) * codec_->code_size());
    for (std::size_t first = 0; first < count; first += kMergedVectors) {
      const std::size_t n = std::min(kMergedVectors, count - first);
      other.read_codes(other.store_.slots(first, n), codes.data());
      append_codes(codes.data(), n, ids.empty() ? nullptr : ids.data() + first,
                   places_of(codes.data(), n));
    }
    scoring = scoring_of(store_.ranges());
    if (owns_refine_rows()) refine_rows_->merge(std::move(*other.refine_rows_));
  } catch (...) {
    restore(before);
    throw;
  }
  other.empty(std::move(emptied), std::move(scoring_of_emptied));
  changed(std::move(scoring));
}

void Index::keep_ids() {
  const std::unique_lock lock(locks_.state);
  ids_.keep();
  changed(std::move(scoring_));
}

std::size_t Index::remove(const Selector& selector) {
  if (marks_removals_) return change_marked(&selector, [] {});
  const std::unique_lock lock(locks_.state);
  Bits drop = selector.of(ids_);
  std::size_t found = 0;
  for (const std::uint64_t word : drop) found += static_cast<std::size_t>(std::popcount(word));
  if (found == 0) return 0;
  require(refine_rows_ == nullptr || owns_refine_rows() || ids_.is_explicit(),
          "ids: borrowed refine rows are found by id, and removal would renumber the vectors; add "
          "vectors with explicit ids");
  CodeStore::Removal removal = store_.prepare_removal(std::move(drop));
  ScoringPointer scoring = scoring_of(removal.ranges());
  take_out(std::move(removal));
  changed(std::move(scoring));
  return found;
}

void Index::take_out(CodeStore::Removal&& removal) noexcept {
  if (owns_refine_rows()) refine_rows_->remove(removal.drop);
  ids_.remove(removal.drop);
  store_.remove(std::move(removal));
}

void Index::reset() {
  if (!memory_.empty()) throw std::logic_error("an index with mapped parts cannot be emptied");
  const std::unique_lock lock(locks_.state);
  CodeStore emptied = empty_store();
  ScoringPointer scoring = scoring_of(emptied.ranges());
  empty(std::move(emptied), std::move(scoring));
}

void Index::empty(CodeStore&& store, ScoringPointer scoring) noexcept {
  store_ = std::move(store);
  ids_.clear();
  if (owns_refine_rows()) refine_rows_->clear();
  changed(std::move(scoring));
}

}  // namespace waterfill
