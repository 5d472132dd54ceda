// What an index returns of its vectors: codes, ids and refine rows, by position, id or selector.
#include <algorithm>
#include <bit>
#include <mutex>
#include <numeric>
#include <string>

#include "index/index_view.hpp"
#include "waterfill/index/index.hpp"

namespace waterfill {

// The vectors that a selector selects and that are not removed, by ascending label.
std::vector<std::uint32_t> Index::selected_labels(const Selector& selector) const {
  std::vector<std::uint32_t> labels;
  if (const std::vector<std::int64_t>* ids = selector.as_set()) {
    const std::unique_lock own(locks_.caches);
    for (std::size_t i = 0; i < ids->size(); ++i) {
      if (i > 0 && (*ids)[i] == (*ids)[i - 1]) continue;
      lookup().each((*ids)[i], [&](std::size_t label) {
        if (!store_.is_removed(label)) labels.push_back(static_cast<std::uint32_t>(label));
        return false;
      });
    }
    std::sort(labels.begin(), labels.end());
    return labels;
  }
  const Bits bits = selector.of(ids_);
  for (std::size_t w = 0; w < bits.size(); ++w) {
    for (std::uint64_t left = bits[w]; left != 0; left &= left - 1) {
      const std::size_t label = w * kBitsPerWord + static_cast<std::size_t>(std::countr_zero(left));
      if (!store_.is_removed(label)) labels.push_back(static_cast<std::uint32_t>(label));
    }
  }
  return labels;
}

// The caller holds the lock of the caches, or the index alone.
const Ids::Lookup& Index::lookup() const {
  if (lookup_ == nullptr) {
    lookup_ = std::make_unique<Ids::Lookup>(ids_);
  } else {
    lookup_->update();
  }
  return *lookup_;
}

std::vector<std::int64_t> Index::selected_ids(const Selector& selector) const {
  const std::shared_lock lock(locks_.state);
  std::vector<std::int64_t> ids;
  for (const std::uint32_t label : selected_labels(selector)) ids.push_back(ids_[label]);
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

std::vector<std::uint32_t> Index::removed_labels() const {
  const std::shared_lock lock(locks_.state);
  std::vector<std::uint32_t> labels;
  const Bits& bits = store_.removed();
  for (std::size_t w = 0; w < bits.size(); ++w) {
    for (std::uint64_t left = bits[w]; left != 0; left &= left - 1) {
      labels.push_back(static_cast<std::uint32_t>(
          w * kBitsPerWord + static_cast<std::size_t>(std::countr_zero(left))));
    }
  }
  return labels;
}

// The labels of the vectors [first, first + n) that are not removed.
std::vector<std::uint32_t> Index::labels_at(std::size_t first, std::size_t n) const {
  require(first <= store_.live() && n <= store_.live() - first,
          "rows " + std::to_string(first) + " to " + std::to_string(first + n) +
              " exceed an index of " + std::to_string(store_.live()) + " vectors");
  std::vector<std::uint32_t> labels(n);
  if (store_.live() == store_.size()) {
    std::iota(labels.begin(), labels.end(), static_cast<std::uint32_t>(first));
    return labels;
  }
  const Bits& removed = store_.removed();
  std::size_t w = 0, passed = 0;
  const auto live_of = [&](std::size_t word) {  // of a word that is full
    const std::uint64_t bits = word < removed.size() ? removed[word] : 0;
    return kBitsPerWord - static_cast<std::size_t>(std::popcount(bits));
  };
  for (; (w + 1) * kBitsPerWord <= store_.size() && passed + live_of(w) <= first; ++w) {
    passed += live_of(w);
  }
  std::size_t i = 0;
  for (std::size_t label = w * kBitsPerWord; i < n; ++label) {
    if (store_.is_removed(label) || passed++ < first) continue;
    labels[i++] = static_cast<std::uint32_t>(label);
  }
  return labels;
}

void Index::read_codes(const std::vector<std::uint32_t>& slots, std::uint8_t* out) const {
  for (std::size_t i = 0; i < slots.size(); ++i) {
    const Location location = store_.locate(slots[i]);
    std::uint8_t* code = out + i * codec_->code_size();
    store_.read(location, code);
    codec_->set_cell(code, location.list);
  }
}

// labels: of vectors, or -1 for none.
void Index::read_contents(const std::int64_t* labels, std::size_t n,
                          const ContentArrays& out) const {
  if (out.codes == nullptr && out.rows == nullptr) return;
  require(out.rows == nullptr || refine_rows_ != nullptr, "the index keeps no refine rows");
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < n; ++i) {
    if (labels[i] >= 0) order.push_back(i);
  }
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return labels[a] < labels[b]; });
  std::vector<std::uint32_t> ascending;
  ascending.reserve(order.size());
  for (const std::size_t i : order) ascending.push_back(static_cast<std::uint32_t>(labels[i]));
  const std::vector<std::uint32_t> slots =
      out.codes != nullptr ? store_.slots(ascending) : std::vector<std::uint32_t>();
  const IndexView view = this->view();
  for (std::size_t i = 0; i < order.size(); ++i) {
    if (out.codes != nullptr) {
      const Location location = store_.locate(slots[i]);
      std::uint8_t* code = out.codes + order[i] * codec_->code_size();
      store_.read(location, code);
      codec_->set_cell(code, location.list);
    }
    if (out.rows != nullptr) {
      const auto row = static_cast<std::size_t>(view.refine_row(ascending[i]));
      refine_rows_->read(row, out.rows + order[i] * codec_->d());
    }
  }
}

void Index::codes(std::size_t first, std::size_t n, std::uint8_t* out) const {
  const std::shared_lock lock(locks_.state);
  const std::vector<std::uint32_t> labels = labels_at(first, n);
  const bool all = store_.live() == store_.size();
  read_codes(all ? store_.slots(first, n) : store_.slots(labels), out);
}

void Index::ids(std::size_t first, std::size_t n, std::int64_t* out) const {
  const std::shared_lock lock(locks_.state);
  for (const std::uint32_t label : labels_at(first, n)) *out++ = ids_[label];
}

void Index::refine_rows(std::size_t first, std::size_t n, float* out) const {
  const std::shared_lock lock(locks_.state);
  require(refine_rows_ != nullptr, "the index keeps no refine rows");
  const IndexView view = this->view();
  for (const std::uint32_t label : labels_at(first, n)) {
    refine_rows_->read(static_cast<std::size_t>(view.refine_row(label)), out);
    out += codec_->d();
  }
}

void Index::find(const std::int64_t* ids, std::size_t n, std::int64_t* labels,
                 const ContentArrays& contents) const {
  const std::shared_lock lock(locks_.state);
  {
    const std::unique_lock own(locks_.caches);
    const Ids::Lookup& lookup = this->lookup();
    for (std::size_t i = 0; i < n; ++i) {
      labels[i] = -1;
      lookup.each(ids[i], [&](std::size_t label) {
        if (store_.is_removed(label)) return false;
        labels[i] = static_cast<std::int64_t>(label);
        return true;
      });
    }
  }
  read_contents(labels, n, contents);
}

}  // namespace waterfill
