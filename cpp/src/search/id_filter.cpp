#include "search/id_filter.hpp"

#include <algorithm>
#include <bit>

#include "kernels.hpp"

namespace waterfill {

IdFilter::IdFilter(const CodeStore& store, const Ids& ids, const Selector* selector)
    : store_(store), ids_(ids) {
  if (selector == nullptr) return;
  selector_ = *selector;
  if (!ids.is_explicit()) labels_ = selector->of_labels(ids.size());
  starts_.push_back(0);
  for (const List& list : store.lists()) {
    starts_.push_back(starts_.back() + (list.size + kBlock - 1) / kBlock);
  }
  list_states_ = std::make_unique<ListState[]>(store.lists().size());
  masks_ = std::make_unique_for_overwrite<std::uint32_t[]>(starts_.back());
}

const std::uint32_t* IdFilter::blocks(std::size_t list) const {
  if (everything()) return nullptr;
  std::call_once(list_states_[list].computed, [&] { compute(list); });
  return masks_.get() + starts_[list];
}

std::size_t IdFilter::count(std::size_t list) const {
  if (everything()) return store_.lists()[list].size;
  blocks(list);
  return list_states_[list].count;
}

void IdFilter::compute(std::size_t list) const {
  if (!selector_.has_value()) return;
  const std::size_t size = store_.lists()[list].size, blocks = starts_[list + 1] - starts_[list];
  std::uint32_t* masks = masks_.get() + starts_[list];
  std::fill_n(masks, blocks, 0u);
  const auto set = [&](std::size_t i, bool bit) {
    masks[i / kBlock] |= std::uint32_t{bit} << i % kBlock;
  };
  static_assert(kBitsPerWord == 2 * kBlock);
  if (ids_.is_explicit()) {
    std::vector<std::int64_t> ids(size);
    store_.each_label(list, [&](std::size_t i, std::uint32_t label) { ids[i] = ids_[label]; });
    const Bits bits = selector_->of(ids.data(), size);
    for (std::size_t i = 0; i < size; ++i) set(i, test_bit(bits, i));
  } else if (store_.lists().size() == 1) {  // ids equal slots
    for (std::size_t b = 0; b < blocks; ++b) {
      masks[b] = static_cast<std::uint32_t>(labels_[b / 2] >> b % 2 * kBlock);
    }
  } else {
    store_.each_label(
        list, [&](std::size_t i, std::uint32_t label) { set(i, test_bit(labels_, label)); });
  }
  for (std::size_t b = 0; b < blocks; ++b) {
    list_states_[list].count += static_cast<std::uint32_t>(std::popcount(masks[b]));
  }
}

}  // namespace waterfill
