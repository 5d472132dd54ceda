#include "waterfill/index/code_store.hpp"

#include <algorithm>
#include <numeric>
#include <stdexcept>

#include "kernels.hpp"
#include "waterfill/core/types.hpp"

namespace waterfill {
namespace {

// Labels are looked up one by one if a list has this many times as many.
constexpr std::size_t kFewLabels = 256;

}  // namespace

bool List::set_live(const Segment& segment, std::size_t at, bool is_live) noexcept {
  const std::uint32_t bit = 1u << at % kBlock;
  std::uint32_t& mask = live[segment.first_block + at / kBlock];
  const std::uint32_t before = mask;
  mask = is_live ? mask | bit : mask & ~bit;
  return mask != before;
}

std::size_t List::blocks() const {
  return segments.empty() ? 0 : segments.back().first_block + blocks_for(segments.back().size);
}

CodeStore::CodeStore(std::size_t groups, bool with_extra, std::size_t lists)
    : layout_(groups),
      with_extra_(with_extra),
      starts_(lists + 1, 0),
      counts_(lists, 0),
      part_starts_{0} {
  lists_.reserve(lists);
  for (std::size_t l = 0; l < lists; ++l) lists_.emplace_back(label_bytes_for(lists));
}

std::size_t CodeStore::bytes() const {
  std::size_t sum = lists_.capacity() * sizeof(List);
  for (const List& list : lists_) {
    sum += list.labels.bytes() + list.segments.capacity() * sizeof(Segment) +
           list.parts.capacity() * sizeof(PartLabels) +
           list.live.capacity() * sizeof(std::uint32_t);
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
    range.size = list.size - list.removed;
    for (const Segment& segment : list.segments) {
      range.scales.include(segment.scales);
      range.extras.include(segment.extras);
    }
  }
  return ranges;
}

Segment& CodeStore::add_segment(List& list) {
  const std::size_t blocks = list.blocks();
  const std::size_t first =
      list.segments.empty() ? 0 : list.segments.back().first + list.segments.back().size;
  Segment& segment = list.segments.emplace_back();
  segment.first = first;
  segment.first_block = blocks;
  return segment;
}

void CodeStore::attach(const CodePart& part) {
  require(part.size <= 0xffffffff - size() && part.lists.size() == lists_.size(),
          "the part has other lists, or too many vectors");
  if (mapped_ != size()) throw std::logic_error("a part cannot follow own vectors");
  const std::size_t row = layout_.low_bytes(), block = layout_.block_bytes();
  std::size_t slot = 0, blocks = 0, words = 0, samples = 0;
  for (std::size_t l = 0; l < lists_.size(); ++l) {
    const CodePart::List& own = part.lists[l];
    if (own.size == 0) continue;
    List& list = lists_[l];
    Segment& segment = add_segment(list);
    segment.size = own.size;
    segment.high = {part.high + blocks * block, blocks_for(own.size) * block};
    segment.low = {part.low + slot * row, own.size * row};
    segment.scale = {part.scale + slot, own.size};
    if (with_extra_) segment.extra = {part.extra + slot, own.size};
    segment.scales = own.scales;
    segment.extras = own.extras;
    PartLabels& labels = list.parts.emplace_back();
    labels.base = static_cast<std::uint32_t>(mapped_);
    labels.part = static_cast<std::uint32_t>(parts_.size());
    labels.part_size = static_cast<std::uint32_t>(part.size);
    if (lists_.size() > 1) {
      labels.sequence = {
          part.label_bytes,         own.size,        part.label_lows + slot * part.label_bytes,
          part.label_words + words, own.label_words, part.label_samples + samples};
    }
    list.size += own.size;
    list.mapped += own.size;
    slot += own.size;
    blocks += blocks_for(own.size);
    words += own.label_words;
    samples += (own.size + EliasFanoView::kSample - 1) / EliasFanoView::kSample;
  }
  parts_.push_back(part);
  parts_.back().lists = {};
  mapped_ += part.size;
  part_starts_.push_back(mapped_);
  update_starts();
}

// Sizes a list for n vectors, with those of mapped segments.
void CodeStore::resize(List& list, std::size_t n) const {
  const std::size_t own = n - list.mapped, before = list.parts.size();
  const std::size_t count = before + (own + kCapacity - 1) / kCapacity;
  while (list.segments.size() > count) list.segments.pop_back();
  while (list.segments.size() < count) {
    if (list.segments.size() > before) {
      layout_.resize(list.segments.back(), kCapacity, with_extra_);
    }
    add_segment(list);
  }
  if (count > before) {
    layout_.resize(list.segments.back(), n - list.segments.back().first, with_extra_);
  }
  if (!list.live.empty()) {
    list.live.resize(list.blocks(), 0);
    for (std::size_t i = list.size; i < n; ++i) {
      const Segment& segment = list.segments[list.segment_of(i)];
      list.set_live(segment, i - segment.first, true);
    }
    if (n < list.size && !list.live.empty()) {
      const std::size_t rest = (n - list.segments.back().first) % kBlock;
      if (rest != 0) list.live.back() &= (1u << rest) - 1;
    }
  }
  list.size = n;
}

void CodeStore::update_starts() {
  for (std::size_t l = 0; l < lists_.size(); ++l) {
    starts_[l + 1] = starts_[l] + lists_[l].size;
    counts_[l] = static_cast<std::uint32_t>(lists_[l].size - lists_[l].removed);
  }
}

void CodeStore::append(const Codes& codes) {
  const std::size_t old_size = size();
  std::vector<std::size_t> sizes, added(lists_.size(), 0);
  sizes.reserve(lists_.size());
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
    Segment& segment = lists_[l].segments[lists_[l].segment_of(at)];
    layout_.pack(segment, at - segment.first, codes.rows + i * codes.stride);
    if (with_extra_) segment.extra.own()[at - segment.first] = codes.extra[i];
  }
  for (std::size_t l = 0; l < lists_.size(); ++l) {
    if (added[l] == 0) continue;
    for (std::size_t s = lists_[l].segment_of(sizes[l]); s < lists_[l].segments.size(); ++s) {
      Segment& segment = lists_[l].segments[s];
      segment.extend_ranges(std::max(segment.first, sizes[l]) - segment.first);
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
    list.labels.truncate(checkpoint[l].size - list.mapped);
    if (list.segments.size() == list.parts.size()) continue;
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

std::size_t CodeStore::list_of(std::size_t slot) const {
  // Without branches, which nobody could predict, so that the searches of several slots overlap.
  const std::size_t* first = starts_.data();
  for (std::size_t n = lists_.size(); n > 1; n -= n / 2) {
    first += first[n / 2] <= slot ? n / 2 : 0;
  }
  return static_cast<std::size_t>(first - starts_.data());
}

Location CodeStore::locate(std::size_t slot) const {
  const std::size_t list = list_of(slot), i = slot - starts_[list];
  const Segment& segment = lists_[list].segments[lists_[list].segment_of(i)];
  return {list, &segment, i - segment.first};
}

std::uint32_t CodeStore::label(std::size_t list, std::size_t i) const {
  if (lists_.size() == 1) return static_cast<std::uint32_t>(i);
  const List& own = lists_[list];
  if (i >= own.mapped) return own.labels[i - own.mapped];
  const std::size_t s = own.segment_of(i);
  return own.parts[s][i - own.segments[s].first];
}

void CodeStore::prefetch_label(std::size_t list, std::size_t i) const {
  if (lists_.size() == 1) return;
  const List& own = lists_[list];
  if (i >= own.mapped) {
    own.labels.prefetch(i - own.mapped);
  } else {
    const std::size_t s = own.segment_of(i);
    own.parts[s].sequence.prefetch(i - own.segments[s].first);
  }
}

std::vector<std::uint32_t> CodeStore::slots(std::size_t first, std::size_t n) const {
  std::vector<std::uint32_t> result(n);
  if (lists_.size() == 1) {
    std::iota(result.begin(), result.end(), static_cast<std::uint32_t>(first));
    return result;
  }
  // Of the labels of a sequence that lie in the range.
  const auto add = [&](const EliasFanoView& sequence, std::size_t base, std::size_t start) {
    const std::size_t least = first - std::min(first, base);
    for (std::size_t i = sequence.count_below(static_cast<std::uint32_t>(least));
         i < sequence.size(); ++i) {
      const std::size_t label = base + sequence[i];
      if (label < first || label >= first + n) break;
      result[label - first] = static_cast<std::uint32_t>(start + i);
    }
  };
  for (std::size_t l = 0; l < lists_.size(); ++l) {
    const List& list = lists_[l];
    for (std::size_t s = 0; s < list.parts.size(); ++s) {
      const PartLabels& labels = list.parts[s];
      if (labels.base >= first + n || labels.base + labels.part_size <= first) continue;
      add(labels.sequence, labels.base, starts_[l] + list.segments[s].first);
    }
    if (first + n > mapped_) add(list.labels.view(), 0, starts_[l] + list.mapped);
  }
  return result;
}

// The list of a vector of a mapped part.
std::size_t CodeStore::list_of_mapped(std::uint32_t label, const CodePart& part,
                                      std::size_t base) const {
  return std::min(part.list_of_vector(label - base), lists_.size() - 1);
}

std::vector<std::uint32_t> CodeStore::slots(const std::vector<std::uint32_t>& labels) const {
  if (lists_.size() == 1) return labels;
  std::vector<std::uint32_t> result(labels.size());
  std::size_t i = 0;
  for (std::size_t p = 0; i < labels.size() && labels[i] < mapped_; ++i) {
    while (part_starts_[p + 1] <= labels[i]) ++p;
    const std::size_t l = list_of_mapped(labels[i], parts_[p], part_starts_[p]);
    const List& list = lists_[l];
    for (std::size_t s = 0; s < list.parts.size(); ++s) {
      if (list.parts[s].part != p) continue;
      const EliasFanoView& sequence = list.parts[s].sequence;
      const std::size_t at =
          sequence.count_below(labels[i] - static_cast<std::uint32_t>(part_starts_[p]));
      const std::size_t last = list.segments[s].size - 1;  // beyond it only if damaged
      result[i] =
          static_cast<std::uint32_t>(starts_[l] + list.segments[s].first + std::min(at, last));
    }
  }
  const std::size_t mapped = i;
  for (std::size_t l = 0; l < lists_.size() && mapped < labels.size(); ++l) {
    const EliasFano& own = lists_[l].labels;
    const auto set = [&](std::size_t label, std::size_t at) {
      result[label] = static_cast<std::uint32_t>(starts_[l] + lists_[l].mapped + at);
    };
    if (labels.size() - mapped < own.size() / kFewLabels) {
      for (i = mapped; i < labels.size(); ++i) {
        const std::size_t at = own.count_below(labels[i]);
        if (at < own.size() && own[at] == labels[i]) set(i, at);
      }
    } else {
      i = mapped;
      std::size_t at = 0;
      own.each([&](std::uint32_t label) {
        while (i < labels.size() && labels[i] < label) ++i;
        for (; i < labels.size() && labels[i] == label; ++i) set(i, at);
        ++at;
      });
    }
  }
  return result;
}

}  // namespace waterfill
