// The blocks of an index in one piece, as a device keeps them.
#include <algorithm>
#include <mutex>

#include "kernels.hpp"
#include "search/scoring.hpp"
#include "waterfill/index/index.hpp"

namespace waterfill {
namespace {

// Copies bytes of vectors [first, last) of a segment, `size` each, and zeros up to `end`.
void copy_vectors(const CodeBytes& from, std::size_t size, std::size_t first, std::size_t last,
                  std::size_t end, std::uint8_t* to) {
  std::copy(from.data() + first * size, from.data() + last * size, to);
  std::fill(to + (last - first) * size, to + (end - first) * size, std::uint8_t{0});
}

}  // namespace

BlockTable Index::block_table() const {
  const std::shared_lock lock(locks_.state);
  BlockTable table;
  for (std::size_t l = 0; l < store_.lists().size(); ++l) {
    for (const Segment& segment : store_.lists()[l].segments) {
      const std::size_t start = store_.start(l) + segment.first;
      for (std::size_t i = 0; i < segment.size; i += kBlock) {
        table.lists.push_back(static_cast<std::uint32_t>(l));
        table.slots.push_back(static_cast<std::uint32_t>(start + i));
        table.sizes.push_back(static_cast<std::uint8_t>(std::min(kBlock, segment.size - i)));
      }
    }
  }
  return table;
}

void Index::copy_blocks(std::size_t first, std::size_t n, const BlockArrays& out) const {
  const std::shared_lock lock(locks_.state);
  const Layout& layout = store_.layout();
  const std::size_t high = layout.block_bytes(), low = layout.low_bytes(), last = first + n;
  std::size_t block = 0;  // the first of the segment
  for (const List& list : store_.lists()) {
    for (const Segment& segment : list.segments) {
      const std::size_t blocks = blocks_for(segment.size);
      const std::size_t from = std::max(first, block), to = std::min(last, block + blocks);
      if (from < to) {
        const std::size_t at = from - first, begin = (from - block) * kBlock;
        const std::size_t padded = (to - block) * kBlock, end = std::min(padded, segment.size);
        std::copy(segment.high.data() + (from - block) * high,
                  segment.high.data() + (to - block) * high, out.high + at * high);
        copy_vectors(segment.low, low, begin, end, padded, out.low + at * kBlock * low);
        copy_vectors(segment.scale, 1, begin, end, padded, out.scale + at * kBlock);
        if (out.extra != nullptr) {
          copy_vectors(segment.extra, 1, begin, end, padded, out.extra + at * kBlock);
        }
      }
      block += blocks;
    }
  }
  require(last <= block,
          "blocks: expected at most " + std::to_string(block) + ", got " + std::to_string(last));
}

ScoreTables Index::score_tables() const {
  const std::shared_lock lock(locks_.state);
  return scoring_->tables();
}

}  // namespace waterfill
