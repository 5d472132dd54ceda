// Removal of vectors from a store: by marks, or by closing the gaps.
#include <algorithm>
#include <bit>
#include <stdexcept>
#include <utility>

#include "kernels.hpp"
#include "waterfill/core/types.hpp"
#include "waterfill/index/code_store.hpp"

namespace waterfill {
namespace {

ListRange total(const std::vector<ListRange>& parts) {
  ListRange sum;
  for (const ListRange& part : parts) {
    sum.size += part.size;
    sum.scales.include(part.scales);
    sum.extras.include(part.extras);
  }
  return sum;
}

}  // namespace

std::vector<std::uint32_t> CodeStore::mark_removed(const std::vector<std::uint32_t>& labels) {
  std::vector<std::uint32_t> slots = this->slots(labels);
  removed_.resize(std::max(removed_.size(), words_for(size())), 0);
  for (const std::uint32_t slot : slots) {
    List& list = lists_[locate(slot).list];
    if (!list.live.empty()) continue;
    std::vector<std::uint32_t> live(list.blocks(), 0);
    for (const Segment& segment : list.segments) {
      for (std::size_t i = 0; i < segment.size; i += kBlock) {
        const std::size_t left = std::min(kBlock, segment.size - i);
        live[segment.first_block + i / kBlock] = static_cast<std::uint32_t>((1ull << left) - 1);
      }
    }
    list.live = std::move(live);
  }
  set_removed(labels, slots, true);
  return slots;
}

void CodeStore::unmark_removed(const std::vector<std::uint32_t>& labels,
                               const std::vector<std::uint32_t>& slots) noexcept {
  set_removed(labels, slots, false);
}

void CodeStore::set_removed(const std::vector<std::uint32_t>& labels,
                            const std::vector<std::uint32_t>& slots, bool removed) noexcept {
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const Location location = locate(slots[i]);
    List& list = lists_[location.list];
    Segment& segment = list.segments[list.segment_of(slots[i] - starts_[location.list])];
    const std::size_t change = removed ? 1 : std::size_t(-1);
    removed_[labels[i] / kBitsPerWord] ^= std::uint64_t{1} << labels[i] % kBitsPerWord;
    removed_size_ += change;
    // Two labels have one slot only in a damaged file.
    if (list.set_live(segment, location.at, !removed)) list.removed += change;
    if (lists_.size() > 1) tighten(list, segment, location.at, removed);
  }
  update_starts();
}

// Makes the ranges of a segment exact after one of its vectors has been marked or unmarked.
void CodeStore::tighten(const List& list, Segment& segment, std::size_t at,
                        bool removed) const noexcept {
  const auto extreme = [](const ByteRange& range, std::uint8_t byte) {
    return byte == range.least || byte == range.largest;
  };
  if (!removed) {
    segment.scales.include(segment.scale[at]);
    if (with_extra_) segment.extras.include(segment.extra[at]);
    return;
  }
  if (!extreme(segment.scales, segment.scale[at]) &&
      !(with_extra_ && extreme(segment.extras, segment.extra[at]))) {
    return;
  }
  segment.scales = segment.extras = {};
  for (std::size_t i = 0; i < segment.size; ++i) {
    if ((list.live[segment.first_block + i / kBlock] >> i % kBlock & 1) == 0) continue;
    segment.scales.include(segment.scale[i]);
    if (with_extra_) segment.extras.include(segment.extra[i]);
  }
}

std::vector<ListRange> CodeStore::Removal::ranges() const {
  std::vector<ListRange> ranges;
  ranges.reserve(lists.size());
  for (const Kept& kept : lists) ranges.push_back(total(kept.segments));
  return ranges;
}

CodeStore::Removal CodeStore::prepare_removal(Bits drop) const {
  if (mapped_ > 0 || removed_size_ > 0) throw std::logic_error("vectors can only be marked");
  std::vector<std::size_t> before{0};  // vectors removed before each word
  before.reserve(drop.size() + 1);
  for (const std::uint64_t word : drop) {
    before.push_back(before.back() + static_cast<std::size_t>(std::popcount(word)));
  }
  Removal removal;
  removal.code.resize(layout_.groups + 1);
  removal.lists.reserve(lists_.size());
  for (std::size_t l = 0; l < lists_.size(); ++l) {
    const List& list = lists_[l];
    Removal::Kept& kept = removal.lists.emplace_back(list.labels.low_bytes());
    each_label(l, [&](std::size_t i, std::uint32_t label) {
      if (test_bit(drop, label)) return;
      const Segment& segment = list.segments[list.segment_of(i)];
      const std::size_t at = i - segment.first;
      if (kept.segments.empty() || kept.segments.back().size == kCapacity) {
        kept.segments.emplace_back();
      }
      ListRange& range = kept.segments.back();
      ++range.size;
      range.scales.include(segment.scale[at]);
      if (with_extra_) range.extras.include(segment.extra[at]);
      if (lists_.size() == 1) return;
      const std::size_t word = label / kBitsPerWord;
      const std::uint64_t own = drop[word] & ~(~std::uint64_t{0} << label % kBitsPerWord);
      const std::size_t fewer = before[word] + static_cast<std::size_t>(std::popcount(own));
      kept.labels.push_back(static_cast<std::uint32_t>(label - fewer));
    });
  }
  removal.drop = std::move(drop);
  return removal;
}

void CodeStore::remove(Removal&& removal) noexcept {
  for (std::size_t l = 0; l < lists_.size(); ++l) {
    List& list = lists_[l];
    Removal::Kept& kept = removal.lists[l];
    std::size_t to = 0;
    each_label(l, [&](std::size_t from, std::uint32_t label) {
      if (test_bit(removal.drop, label)) return;
      if (from != to) move(list, from, to, removal.code.data());
      ++to;
    });
    resize(list, to);
    for (std::size_t s = 0; s < list.segments.size(); ++s) {
      list.segments[s].scales = kept.segments[s].scales;
      list.segments[s].extras = kept.segments[s].extras;
    }
    if (to > 0) layout_.clear_padding(list.segments.back());
    list.labels = std::move(kept.labels);
  }
  update_starts();
}

void CodeStore::move(List& list, std::size_t from, std::size_t to,
                     std::uint8_t* code) const noexcept {
  const Segment& source = list.segments[list.segment_of(from)];
  Segment& target = list.segments[list.segment_of(to)];
  layout_.unpack(source, from - source.first, code);
  layout_.pack(target, to - target.first, code);
  if (with_extra_) target.extra.own()[to - target.first] = source.extra[from - source.first];
}

}  // namespace waterfill
