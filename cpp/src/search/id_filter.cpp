#include "search/id_filter.hpp"

#include <algorithm>
#include <bit>

#include "kernels.hpp"

namespace waterfill {
namespace {

// Bits [first, first + n) of some, which need not start at a multiple of a block.
std::uint32_t bits_of_block(const Bits& bits, std::size_t first, std::size_t n) {
  const std::size_t word = first / kBitsPerWord, shift = first % kBitsPerWord;
  std::uint64_t own = bits[word] >> shift;
  if (shift + n > kBitsPerWord) own |= bits[word + 1] << (kBitsPerWord - shift);
  return static_cast<std::uint32_t>(own & ((std::uint64_t{1} << n) - 1));
}

}  // namespace

IdFilter::IdFilter(const CodeStore& store, const Ids& ids, const Selector* selector)
    : store_(store), ids_(ids) {
  if (selector == nullptr) return;
  selector_ = *selector;
  if (!ids.is_explicit()) labels_ = selector->of_labels(ids.size());
  starts_.push_back(0);
  for (const List& list : store.lists()) starts_.push_back(starts_.back() + list.blocks());
  list_states_ = std::make_unique<ListState[]>(store.lists().size());
  masks_ = std::make_unique_for_overwrite<std::uint32_t[]>(starts_.back());
}

const std::uint32_t* IdFilter::blocks(std::size_t list) const {
  if (everything()) {
    const std::vector<std::uint32_t>& live = store_.lists()[list].live;
    return live.empty() ? nullptr : live.data();
  }
  std::call_once(list_states_[list].computed, [&] { compute(list); });
  return masks_.get() + starts_[list];
}

std::size_t IdFilter::count(std::size_t list) const {
  if (everything()) return store_.count(list);
  blocks(list);
  return list_states_[list].count;
}

void IdFilter::compute(std::size_t list) const {
  if (!selector_.has_value()) return;
  const List& own = store_.lists()[list];
  const std::size_t blocks = starts_[list + 1] - starts_[list];
  std::uint32_t* masks = masks_.get() + starts_[list];
  const Bits bits = selected(*selector_, list);
  for (const Segment& segment : own.segments) {
    for (std::size_t i = 0; i < segment.size; i += kBlock) {
      const std::size_t n = std::min(kBlock, segment.size - i);
      masks[segment.first_block + i / kBlock] = bits_of_block(bits, segment.first + i, n);
    }
  }
  for (std::size_t b = 0; b < blocks; ++b) {
    if (!own.live.empty()) masks[b] &= own.live[b];
    list_states_[list].count += static_cast<std::uint32_t>(std::popcount(masks[b]));
  }
}

// A bit for each vector of a list.
Bits IdFilter::selected(const Selector& selector, std::size_t list) const {
  if (!ids_.is_explicit() && store_.lists().size() == 1) return labels_;  // labels equal slots
  const std::size_t size = store_.lists()[list].size;
  if (!ids_.is_explicit()) {
    Bits bits(words_for(size), 0);
    store_.each_label(list, [&](std::size_t i, std::uint32_t label) {
      if (test_bit(labels_, label)) set_bit(bits, i);
    });
    return bits;
  }
  std::vector<std::int64_t> ids(size);
  store_.each_label(list, [&](std::size_t i, std::uint32_t label) { ids[i] = ids_[label]; });
  return selector.of(ids.data(), size);
}

std::vector<std::uint32_t> masks_of(const CodeStore& store, const IdFilter& filter,
                                    const std::vector<bool>& scanned) {
  bool selects = false;
  for (std::size_t l = 0; l < scanned.size() && !selects; ++l) {
    selects = scanned[l] && filter.blocks(l) != nullptr;
  }
  std::vector<std::uint32_t> masks;
  for (std::size_t l = 0; selects && l < scanned.size(); ++l) {
    const std::size_t blocks = store.lists()[l].blocks();
    const std::uint32_t* own = scanned[l] ? filter.blocks(l) : nullptr;
    if (own != nullptr) {
      masks.insert(masks.end(), own, own + blocks);
    } else {
      masks.insert(masks.end(), blocks, ~std::uint32_t{0});
    }
  }
  return masks;
}

}  // namespace waterfill
