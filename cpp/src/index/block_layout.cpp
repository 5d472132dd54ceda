#include "waterfill/index/block_layout.hpp"

#include "kernels.hpp"
#include "waterfill/core/prefetch.hpp"

namespace waterfill {
namespace {

// The bytes of vector i in a block: one per group, 16 bytes apart.
template <class Byte>
Byte* high_bytes(Byte* high, const Layout& layout, std::size_t i) {
  return high + i / kBlock * layout.block_bytes() + i % 16;
}

}  // namespace

void Segment::extend_ranges(std::size_t first) {
  for (std::size_t i = first; i < size; ++i) scales.include(scale[i]);
  for (std::size_t i = first; i < extra.size(); ++i) extras.include(extra[i]);
}

void Layout::resize(Segment& segment, std::size_t n, bool with_extra) const {
  segment.high.resize(blocks_for(n) * block_bytes());
  segment.low.resize(n * low_bytes());
  segment.scale.resize(blocks_for(n) * kBlock);
  if (with_extra) segment.extra.resize(n);
  segment.size = n;
}

void Layout::pack(Segment& segment, std::size_t i, const std::uint8_t* code) const {
  const std::size_t count = groups;  // a local: writes may alias the member
  std::uint8_t* pair = high_bytes(segment.high.own(), *this, i);
  const unsigned shift = i % kBlock < 16 ? 0 : 4, others = 0xf0u >> shift;
  for (std::size_t g = 0; g < count; ++g, pair += 16) {
    *pair = static_cast<std::uint8_t>((*pair & others) | (code[g] >> 4u) << shift);
  }
  std::uint8_t* low = segment.low.own() + i * low_bytes();
  for (std::size_t g = 0; g < count / 2; ++g) {
    low[g] = static_cast<std::uint8_t>((code[2 * g] & 15u) | (code[2 * g + 1] & 15u) << 4);
  }
  if (count % 2 == 1) low[count / 2] = code[count - 1] & 15u;
  segment.scale.own()[i] = code[count];
}

void Layout::unpack(const Segment& segment, std::size_t i, std::uint8_t* code) const {
  const std::size_t count = groups;  // a local: writes through code may alias the member
  const std::uint8_t* high = high_bytes(segment.high.data(), *this, i);
  for (std::size_t g = 0; g < count; ++g) code[g] = high[g * 16];
  const std::uint8_t* low = segment.low.data() + i * low_bytes();
  const unsigned shift = i % kBlock < 16 ? 4 : 0;
  for (std::size_t g = 0; g < count / 2; ++g) {
    code[2 * g] = static_cast<std::uint8_t>((code[2 * g] << shift & 0xf0u) | (low[g] & 15u));
    code[2 * g + 1] = static_cast<std::uint8_t>((code[2 * g + 1] << shift & 0xf0u) | low[g] >> 4u);
  }
  if (count % 2 == 1) {
    std::uint8_t& last = code[count - 1];
    last = static_cast<std::uint8_t>((last << shift & 0xf0u) | (low[count / 2] & 15u));
  }
  code[count] = segment.scale[i];
}

void Layout::clear_padding(Segment& segment) const {
  for (std::size_t i = segment.size; i % kBlock != 0; ++i) {
    std::uint8_t* pair = high_bytes(segment.high.own(), *this, i);
    const unsigned others = i % kBlock < 16 ? 0xf0u : 0x0fu;
    for (std::size_t g = 0; g < groups; ++g, pair += 16) {
      *pair = static_cast<std::uint8_t>(*pair & others);
    }
  }
  std::fill(segment.scale.own() + segment.size, segment.scale.own() + segment.scale.size(),
            std::uint8_t{0});
}

bool Layout::padding_is_zero(const Segment& segment) const {
  unsigned found = 0;
  for (std::size_t i = segment.size; i % kBlock != 0; ++i) {
    const std::uint8_t* pair = high_bytes(segment.high.data(), *this, i);
    const unsigned own = i % kBlock < 16 ? 0x0fu : 0xf0u;
    for (std::size_t g = 0; g < padded; ++g) found |= pair[g * 16] & own;
  }
  if (groups == padded) return found == 0;
  for (std::size_t b = 0; b < segment.high.size(); b += block_bytes()) {
    for (std::size_t j = 16 * groups; j < block_bytes(); ++j) found |= segment.high[b + j];
  }
  for (std::size_t i = 1; i <= segment.size; ++i) found |= segment.low[i * low_bytes() - 1] >> 4u;
  return found == 0;
}

void Layout::prefetch(const Segment& segment, std::size_t i) const {
  const std::size_t block = i / kBlock * block_bytes();
  prefetch_bytes<CacheLevel::second>(segment.high.data() + block, block_bytes());
  prefetch_bytes<CacheLevel::second>(segment.low.data() + i * low_bytes(), low_bytes());
}

}  // namespace waterfill
