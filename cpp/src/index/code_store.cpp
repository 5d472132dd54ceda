#include "waterfill/index/code_store.hpp"

#include <algorithm>
#include <bit>
#include <numeric>

#include "kernels.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kManyLists = 2048;  // whose labels lie far apart

std::size_t blocks_for(std::size_t n) {
  return (n + kBlock - 1) / kBlock;
}

// Grows with little to spare: doubling would cost lists half as much memory again.
template <class Bytes>
void resize_bytes(Bytes& bytes, std::size_t n) {
  if (n > bytes.capacity()) bytes.reserve(n + (bytes.empty() ? 0 : n / 16));
  bytes.resize(n, 0);
}

}  // namespace

void Segment::note(std::size_t first) {
  for (std::size_t i = first; i < size; ++i) scales.include(scale[i]);
  for (std::size_t i = first; i < extra.size(); ++i) extras.include(extra[i]);
}

ByteRange List::scales() const {
  ByteRange range;
  for (const Segment& segment : segments) range.include(segment.scales);
  return range;
}

ByteRange List::extras() const {
  ByteRange range;
  for (const Segment& segment : segments) range.include(segment.extras);
  return range;
}

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

// Sizes all arrays before `size` changes, so that a failed allocation leaves the segment valid.
void CodeStore::resize(Segment& segment, std::size_t n) const {
  resize_bytes(segment.high, blocks_for(n) * layout_.block_bytes());
  resize_bytes(segment.low, n * layout_.low_bytes());
  resize_bytes(segment.scale, blocks_for(n) * kBlock);
  if (with_extra_) resize_bytes(segment.extra, n);
  segment.size = n;
}

void CodeStore::resize(List& list, std::size_t n) const {
  const std::size_t count = (n + kCapacity - 1) / kCapacity;
  if (list.segments.size() > count) list.segments.resize(count);
  while (list.segments.size() < count) {
    if (!list.segments.empty()) resize(list.segments.back(), kCapacity);
    list.segments.emplace_back();
  }
  if (count > 0) resize(list.segments.back(), n - (count - 1) * kCapacity);
  list.size = n;
}

void CodeStore::count_starts() {
  for (std::size_t l = 0; l < lists_.size(); ++l) starts_[l + 1] = starts_[l] + lists_[l].size;
}

void CodeStore::write_high(Segment& segment, std::size_t i, const std::uint8_t* code) const {
  std::uint8_t* pair = segment.high.data() + i / kBlock * layout_.block_bytes() + i % 16;
  const unsigned shift = i % kBlock < 16 ? 0 : 4, others = 0xf0u >> shift;
  for (std::size_t g = 0; g < layout_.groups; ++g, pair += 16) {
    *pair = static_cast<std::uint8_t>((*pair & others) | (code[g] >> 4u) << shift);
  }
}

void CodeStore::write(Segment& segment, std::size_t i, const std::uint8_t* code) const {
  write_high(segment, i, code);
  std::uint8_t* low = segment.low.data() + i * layout_.low_bytes();
  for (std::size_t g = 0; g < layout_.groups; g += 2) {
    const unsigned second = g + 1 < layout_.groups ? code[g + 1] & 15u : 0;
    low[g / 2] = static_cast<std::uint8_t>((code[g] & 15u) | second << 4);
  }
  segment.scale[i] = code[layout_.groups];
}

void CodeStore::append(const Codes& codes) {
  const std::size_t old_size = size();
  std::vector<std::size_t> sizes, added(lists_.size(), 0);
  for (const List& list : lists_) sizes.push_back(list.size);
  for (std::size_t i = 0; i < codes.n; ++i) ++added[codes.lists != nullptr ? codes.lists[i] : 0];
  try {
    for (std::size_t l = 0; l < lists_.size(); ++l) {
      if (added[l] > 0) resize(lists_[l], sizes[l] + added[l]);
    }
    for (std::size_t i = 0; i < codes.n && codes.lists != nullptr; ++i) {
      lists_[codes.lists[i]].labels.push_back(static_cast<std::uint32_t>(old_size + i));
    }
  } catch (...) {
    shrink_back(sizes);
    throw;
  }
  std::vector<std::size_t> next = sizes;
  for (std::size_t i = 0; i < codes.n; ++i) {
    const std::size_t l = codes.lists != nullptr ? codes.lists[i] : 0, at = next[l]++;
    Segment& segment = lists_[l].segments[at / kCapacity];
    write(segment, at % kCapacity, codes.rows + i * codes.stride);
    if (with_extra_) segment.extra[at % kCapacity] = codes.extra[i];
  }
  for (std::size_t l = 0; l < lists_.size(); ++l) {
    for (std::size_t s = sizes[l] / kCapacity; added[l] > 0 && s < lists_[l].segments.size(); ++s) {
      lists_[l].segments[s].note(s == sizes[l] / kCapacity ? sizes[l] % kCapacity : 0);
    }
  }
  count_starts();
}

void CodeStore::shrink_back(const std::vector<std::size_t>& sizes) {
  for (std::size_t l = 0; l < lists_.size(); ++l) {
    resize(lists_[l], sizes[l]);
    lists_[l].labels.truncate(sizes[l]);
  }
}

void CodeStore::number(std::size_t n, const std::uint16_t* lists) {
  clear();
  for (std::size_t i = 0; i < n && lists != nullptr; ++i) {
    List& list = lists_[lists[i]];
    list.labels.push_back(static_cast<std::uint32_t>(i));
    ++list.size;
  }
  if (lists == nullptr) lists_[0].size = n;
  count_starts();
}

Place CodeStore::locate(std::size_t slot) const {
  const auto after = std::upper_bound(starts_.begin(), starts_.end(), slot);
  return locate_from(static_cast<std::size_t>(after - starts_.begin()) - 1, slot);
}

Place CodeStore::locate_from(std::size_t list, std::size_t slot) const {
  while (starts_[list + 1] <= slot) ++list;
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
    const Ascending& labels = lists_[l].labels;
    for (std::size_t i = labels.count_below(static_cast<std::uint32_t>(first)); i < labels.size();
         ++i) {
      const std::size_t label = labels[i];
      if (label >= first + n) break;
      result[label - first] = static_cast<std::uint32_t>(starts_[l] + i);
    }
  }
  return result;
}

void CodeStore::read(const Place& place, std::uint8_t* code) const {
  const Segment& segment = *place.segment;
  const std::size_t v = place.at, groups = layout_.groups;
  const std::uint8_t* high = segment.high.data() + v / kBlock * layout_.block_bytes() + v % 16;
  for (std::size_t g = 0; g < groups; ++g) code[g] = high[g * 16];
  const std::uint8_t* low = segment.low.data() + v * layout_.low_bytes();
  if (v % kBlock < 16) {
    for (std::size_t g = 0; g < groups; ++g) code[g] = static_cast<std::uint8_t>(code[g] << 4);
  }
  for (std::size_t i = 0; i < groups / 2; ++i) {
    code[2 * i] = static_cast<std::uint8_t>((code[2 * i] & 0xf0u) | (low[i] & 15u));
    code[2 * i + 1] = static_cast<std::uint8_t>((code[2 * i + 1] & 0xf0u) | low[i] >> 4u);
  }
  if (groups % 2 == 1) {
    std::uint8_t& last = code[groups - 1];
    last = static_cast<std::uint8_t>((last & 0xf0u) | (low[groups / 2] & 15u));
  }
  code[groups] = segment.scale[v];
}

void CodeStore::prefetch(const Place& place) const {
  constexpr std::size_t kLine = 64;
  const Segment& segment = *place.segment;
  const std::uint8_t* block = segment.high.data() + place.at / kBlock * layout_.block_bytes();
  for (std::size_t at = 0; at < layout_.block_bytes(); at += kLine) __builtin_prefetch(block + at);
  const std::uint8_t* low = segment.low.data() + place.at * layout_.low_bytes();
  for (std::size_t at = 0; at < layout_.low_bytes(); at += kLine) __builtin_prefetch(low + at);
}

void CodeStore::remove(const Bits& drop) {
  std::vector<std::size_t> before{0};  // vectors dropped before each word
  for (const std::uint64_t word : drop) {
    before.push_back(before.back() + static_cast<std::size_t>(std::popcount(word)));
  }
  for (std::size_t l = 0; l < lists_.size(); ++l) {
    List& list = lists_[l];
    Ascending labels(list.labels.low_bytes());
    std::size_t kept = 0;
    for (std::size_t i = 0; i < list.size; ++i) {
      const std::size_t label = this->label(l, i), word = label / kBitsPerWord;
      if (test_bit(drop, label)) continue;
      if (kept != i) move(list, i, kept);
      ++kept;
      if (lists_.size() == 1) continue;
      const std::uint64_t own = drop[word] & ~(~std::uint64_t{0} << label % kBitsPerWord);
      const std::size_t fewer = before[word] + static_cast<std::size_t>(std::popcount(own));
      labels.push_back(static_cast<std::uint32_t>(label - fewer));
    }
    if (kept < list.size) cut(list, kept);
    list.labels = std::move(labels);
  }
  count_starts();
}

void CodeStore::move(List& list, std::size_t from, std::size_t to) const {
  std::vector<std::uint8_t> code(layout_.groups + 1);
  const Segment& source = list.segments[from / kCapacity];
  Segment& target = list.segments[to / kCapacity];
  read({0, &source, from % kCapacity}, code.data());
  write(target, to % kCapacity, code.data());
  if (with_extra_) target.extra[to % kCapacity] = source.extra[from % kCapacity];
}

// Leaves the first n vectors of a list.
void CodeStore::cut(List& list, std::size_t n) const {
  resize(list, n);
  if (n > 0) {
    Segment& last = list.segments.back();
    const std::vector<std::uint8_t> nothing(layout_.groups + 1, 0);
    for (std::size_t i = last.size; i % kBlock != 0; ++i) write_high(last, i, nothing.data());
    std::fill(last.scale.begin() + static_cast<std::ptrdiff_t>(last.size), last.scale.end(),
              std::uint8_t{0});
  }
  for (Segment& segment : list.segments) segment.note(0);
}

void CodeStore::clear() {
  for (List& list : lists_) list = List(list.labels.low_bytes());
  count_starts();
}

}  // namespace waterfill
