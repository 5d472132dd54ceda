#include "waterfill/store.hpp"

#include <algorithm>

#include "kernels.hpp"

namespace waterfill {
namespace {

std::size_t blocks_for(std::size_t n) {
  return (n + kBlock - 1) / kBlock;
}

}  // namespace

// Sizes all arrays before `size` changes, so that a failed allocation leaves the segment valid.
void CodeStore::resize(Segment& segment, std::size_t n) const {
  segment.high.resize(blocks_for(n) * layout_.block_bytes(), 0);
  segment.low.resize(n * layout_.low_bytes(), 0);
  segment.scale.resize(blocks_for(n) * kBlock, 0);
  if (with_extra_) segment.extra.resize(n, 0);
  segment.size = n;
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

void CodeStore::append(const std::uint8_t* codes, const std::uint8_t* extra, std::size_t n) {
  const std::size_t old_size = size_, code_size = layout_.groups + 1;
  try {
    for (std::size_t done = 0; done < n;) {
      if (segments_.empty() || segments_.back().size == kCapacity) segments_.emplace_back();
      Segment& segment = segments_.back();
      const std::size_t start = segment.size;
      const std::size_t take = std::min(kCapacity - start, n - done);
      resize(segment, start + take);
      for (std::size_t i = 0; i < take; ++i) {
        write(segment, start + i, codes + (done + i) * code_size);
        if (with_extra_) segment.extra[start + i] = extra[done + i];
      }
      segment.note_extra(start);
      done += take;
      size_ += take;
    }
  } catch (...) {
    while (!segments_.empty() && size_ - old_size >= segments_.back().size) {
      size_ -= segments_.back().size;
      segments_.pop_back();
    }
    if (size_ > old_size) resize(segments_.back(), segments_.back().size - (size_ - old_size));
    size_ = old_size;
    throw;
  }
}

void CodeStore::read(std::size_t i, std::uint8_t* code) const {
  const Segment& segment = segments_[i / kCapacity];
  const std::size_t v = i % kCapacity;
  const std::uint8_t* high = segment.high.data() + v / kBlock * layout_.block_bytes() + v % 16;
  const std::uint8_t* low = segment.low.data() + v * layout_.low_bytes();
  const unsigned upper = v % kBlock < 16 ? 0 : 4;
  for (std::size_t g = 0; g + 1 < layout_.groups; g += 2) {
    const unsigned first = high[g * 16] >> upper & 15u, second = high[(g + 1) * 16] >> upper & 15u;
    const unsigned lows = low[g / 2];
    code[g] = static_cast<std::uint8_t>(first << 4 | (lows & 15u));
    code[g + 1] = static_cast<std::uint8_t>(second << 4 | lows >> 4);
  }
  if (layout_.groups % 2 == 1) {
    const std::size_t g = layout_.groups - 1;
    const unsigned last = high[g * 16] >> upper & 15u;
    code[g] = static_cast<std::uint8_t>(last << 4 | (low[g / 2] & 15u));
  }
  code[layout_.groups] = segment.scale[v];
}

std::uint8_t CodeStore::extra(std::size_t i) const {
  return segments_[i / kCapacity].extra[i % kCapacity];
}

std::pair<std::uint8_t, std::uint8_t> CodeStore::extra_range() const {
  std::pair<std::uint8_t, std::uint8_t> range{255, 0};
  for (const Segment& segment : segments_) {
    range.first = std::min(range.first, segment.least_extra);
    range.second = std::max(range.second, segment.largest_extra);
  }
  return range;
}

void CodeStore::prefetch(std::size_t i) const {
  constexpr std::size_t kLine = 64;
  const Segment& segment = segments_[i / kCapacity];
  const std::size_t v = i % kCapacity;
  const std::uint8_t* block = segment.high.data() + v / kBlock * layout_.block_bytes();
  for (std::size_t at = 0; at < layout_.block_bytes(); at += kLine) __builtin_prefetch(block + at);
  const std::uint8_t* low = segment.low.data() + v * layout_.low_bytes();
  for (std::size_t at = 0; at < layout_.low_bytes(); at += kLine) __builtin_prefetch(low + at);
}

void CodeStore::remove(const std::vector<bool>& drop) {
  std::vector<std::uint8_t> code(layout_.groups + 1);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < size_; ++i) {
    if (drop[i]) continue;
    if (kept != i) {
      read(i, code.data());
      Segment& target = segments_[kept / kCapacity];
      write(target, kept % kCapacity, code.data());
      if (with_extra_) target.extra[kept % kCapacity] = extra(i);
    }
    ++kept;
  }
  segments_.resize((kept + kCapacity - 1) / kCapacity);
  if (kept > 0) {
    Segment& last = segments_.back();
    resize(last, (kept - 1) % kCapacity + 1);
    const std::vector<std::uint8_t> nothing(layout_.groups + 1, 0);
    for (std::size_t i = last.size; i % kBlock != 0; ++i) write_high(last, i, nothing.data());
    std::fill(last.scale.begin() + static_cast<std::ptrdiff_t>(last.size), last.scale.end(),
              std::uint8_t{0});
  }
  for (Segment& segment : segments_) segment.note_extra(0);
  size_ = kept;
}

void CodeStore::clear() {
  segments_.clear();
  size_ = 0;
}

}  // namespace waterfill
