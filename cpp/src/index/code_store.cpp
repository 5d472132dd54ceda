#include "waterfill/index/code_store.hpp"

#include <algorithm>
#include <bit>
#include <numeric>
#include <utility>

namespace waterfill {
namespace {

// From this number of lists on, the labels of a list lie so far apart that two low bytes are
// smaller.
constexpr std::size_t kManyLists = 2048;

// Labels are looked up one by one if a list has this many times as many.
constexpr std::size_t kFewLabels = 256;

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

CodeStore::CodeStore(std::size_t groups, bool with_extra, std::size_t lists)
    : layout_(groups),
      with_extra_(with_extra),
      lists_(lists, List(lists > kManyLists ? 2 : 1)),
      starts_(lists + 1, 0) {}

std::size_t CodeStore::bytes() const {
  std::size_t sum = lists_.capacity() * sizeof(List);
  for (const List& list : lists_) {
    sum += list.labels.bytes() + list.segments.capacity() * sizeof(Segment);
    for (const Segment& segment : list.segments) {
      sum += segment.high.capacity() + segment.low.capacity() + segment.scale.capacity() +
             segment.extra.capacity();
    }
  }
  return sum;
}

std::vector<ListRange> CodeStore::ranges() const {
  std::vector<ListRange> ranges;
  ranges.reserve(lists_.size());
  for (const List& list : lists_) {
    ListRange& range = ranges.emplace_back();
    range.size = list.size;
    for (const Segment& segment : list.segments) {
      range.scales.include(segment.scales);
      range.extras.include(segment.extras);
    }
  }
  return ranges;
}

void CodeStore::resize(List& list, std::size_t n) const {
  const std::size_t count = (n + kCapacity - 1) / kCapacity;
  if (list.segments.size() > count) list.segments.resize(count);
  while (list.segments.size() < count) {
    if (!list.segments.empty()) layout_.resize(list.segments.back(), kCapacity, with_extra_);
    list.segments.emplace_back();
  }
  if (count > 0) {
    layout_.resize(list.segments.back(), n - (count - 1) * kCapacity, with_extra_);
  }
  list.size = n;
}

void CodeStore::update_starts() {
  for (std::size_t l = 0; l < lists_.size(); ++l) starts_[l + 1] = starts_[l] + lists_[l].size;
}

void CodeStore::append(const Codes& codes) {
  const std::size_t old_size = size();
  std::vector<std::size_t> sizes, added(lists_.size(), 0);
  for (const List& list : lists_) sizes.push_back(list.size);
  for (std::size_t i = 0; i < codes.n; ++i) ++added[codes.lists != nullptr ? codes.lists[i] : 0];
  for (std::size_t l = 0; l < lists_.size(); ++l) {
    if (added[l] > 0) resize(lists_[l], sizes[l] + added[l]);
  }
  std::vector<std::size_t> next = sizes;
  for (std::size_t i = 0; i < codes.n; ++i) {
    const std::size_t l = codes.lists != nullptr ? codes.lists[i] : 0, at = next[l]++;
    if (codes.lists != nullptr) {
      lists_[l].labels.push_back(static_cast<std::uint32_t>(old_size + i));
    }
    Segment& segment = lists_[l].segments[at / kCapacity];
    layout_.pack(segment, at % kCapacity, codes.rows + i * codes.stride);
    if (with_extra_) segment.extra[at % kCapacity] = codes.extra[i];
  }
  for (std::size_t l = 0; l < lists_.size(); ++l) {
    for (std::size_t s = sizes[l] / kCapacity; added[l] > 0 && s < lists_[l].segments.size(); ++s) {
      lists_[l].segments[s].extend_ranges(s == sizes[l] / kCapacity ? sizes[l] % kCapacity : 0);
    }
  }
  update_starts();
}

CodeStore::Checkpoint CodeStore::checkpoint() const {
  Checkpoint states;
  states.reserve(lists_.size());
  for (const List& list : lists_) {
    ListState& state = states.emplace_back();
    state.size = static_cast<std::uint32_t>(list.size);
    if (list.segments.empty()) continue;
    state.scales = list.segments.back().scales;
    state.extras = list.segments.back().extras;
  }
  return states;
}

// A list that failed to grow may have segments beyond its size, so all lists are resized.
void CodeStore::restore(const Checkpoint& checkpoint) noexcept {
  for (std::size_t l = 0; l < lists_.size(); ++l) {
    List& list = lists_[l];
    resize(list, checkpoint[l].size);
    list.labels.truncate(checkpoint[l].size);
    if (list.segments.empty()) continue;
    Segment& last = list.segments.back();
    layout_.clear_padding(last);
    last.scales = checkpoint[l].scales;
    last.extras = checkpoint[l].extras;
  }
  update_starts();
}

void CodeStore::assign_labels(std::size_t n, const std::uint16_t* lists) {
  for (std::size_t i = 0; i < n && lists != nullptr; ++i) {
    List& list = lists_[lists[i]];
    list.labels.push_back(static_cast<std::uint32_t>(i));
    ++list.size;
  }
  if (lists == nullptr) lists_[0].size = n;
  update_starts();
}

Location CodeStore::locate(std::size_t slot) const {
  const auto after = std::upper_bound(starts_.begin(), starts_.end(), slot);
  return locate_from(static_cast<std::size_t>(after - starts_.begin()) - 1, slot);
}

Location CodeStore::locate_from(std::size_t list, std::size_t slot) const {
  // The next list with a candidate is often many lists away: the steps double.
  std::size_t step = 1;
  while (list + step < lists_.size() && starts_[list + step] <= slot) {
    list += step;
    step *= 2;
  }
  for (; starts_[list + 1] <= slot; list += step) {
    while (list + step >= lists_.size() || starts_[list + step] > slot) step /= 2;
  }
  const std::size_t i = slot - starts_[list];
  return {list, &lists_[list].segments[i / kCapacity], i % kCapacity};
}

std::uint32_t CodeStore::label(std::size_t list, std::size_t i) const {
  return lists_.size() == 1 ? static_cast<std::uint32_t>(i) : lists_[list].labels[i];
}

std::vector<std::uint32_t> CodeStore::slots(std::size_t first, std::size_t n) const {
  std::vector<std::uint32_t> result(n);
  if (lists_.size() == 1) {
    std::iota(result.begin(), result.end(), static_cast<std::uint32_t>(first));
    return result;
  }
  for (std::size_t l = 0; l < lists_.size(); ++l) {
    const EliasFano& labels = lists_[l].labels;
    for (std::size_t i = labels.count_below(static_cast<std::uint32_t>(first)); i < labels.size();
         ++i) {
      const std::size_t label = labels[i];
      if (label >= first + n) break;
      result[label - first] = static_cast<std::uint32_t>(starts_[l] + i);
    }
  }
  return result;
}

std::vector<std::uint32_t> CodeStore::slots(const std::vector<std::uint32_t>& labels) const {
  if (lists_.size() == 1) return labels;
  std::vector<std::uint32_t> result(labels.size());
  for (std::size_t l = 0; l < lists_.size() && !labels.empty(); ++l) {
    const EliasFano& own = lists_[l].labels;
    const auto set = [&](std::size_t i, std::size_t at) {
      result[i] = static_cast<std::uint32_t>(starts_[l] + at);
    };
    if (labels.size() < own.size() / kFewLabels) {
      for (std::size_t i = 0; i < labels.size(); ++i) {
        const std::size_t at = own.count_below(labels[i]);
        if (at < own.size() && own[at] == labels[i]) set(i, at);
      }
    } else {
      std::size_t i = 0;
      each_label(l, [&](std::size_t at, std::uint32_t label) {
        while (i < labels.size() && labels[i] < label) ++i;
        for (; i < labels.size() && labels[i] == label; ++i) set(i, at);
      });
    }
  }
  return result;
}

std::vector<ListRange> CodeStore::Removal::ranges() const {
  std::vector<ListRange> ranges;
  ranges.reserve(lists.size());
  for (const Kept& kept : lists) ranges.push_back(total(kept.segments));
  return ranges;
}

CodeStore::Removal CodeStore::prepare_removal(Bits drop) const {
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
      const Segment& segment = list.segments[i / kCapacity];
      if (kept.segments.empty() || kept.segments.back().size == kCapacity) {
        kept.segments.emplace_back();
      }
      ListRange& range = kept.segments.back();
      ++range.size;
      range.scales.include(segment.scale[i % kCapacity]);
      if (with_extra_) range.extras.include(segment.extra[i % kCapacity]);
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
  const Segment& source = list.segments[from / kCapacity];
  Segment& target = list.segments[to / kCapacity];
  layout_.unpack(source, from % kCapacity, code);
  layout_.pack(target, to % kCapacity, code);
  if (with_extra_) target.extra[to % kCapacity] = source.extra[from % kCapacity];
}

}  // namespace waterfill
