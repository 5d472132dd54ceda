#include "search/block_scan.hpp"

#include <algorithm>
#include <bit>

namespace waterfill {
namespace {

constexpr std::size_t kFew = 32;  // members of a list that are scored without a look at limits

}  // namespace

void Scanner::scan_list(const QueryBatch& batch, std::size_t query, std::size_t list,
                        Selection& selection) const {
  const std::vector<Segment>& segments = store_.lists()[list].segments;
  Selection* const selections[] = {&selection};
  for (std::size_t s = 0; s < segments.size(); ++s) {
    const std::size_t blocks = (segments[s].size + kBlock - 1) / kBlock;
    for (std::size_t b = 0; b < blocks; b += kTileBlocks) {
      scan(batch, &query, 1, {list, s, b, std::min(b + kTileBlocks, blocks)}, selections);
    }
  }
}

void Scanner::scan(const QueryBatch& batch, const std::size_t* queries, std::size_t n,
                   const Range& tile, Selection* const* selections) const {
  const std::uint32_t* masks = filter_.blocks(tile.list);
  if (masks == nullptr) {
    scan_run(batch, queries, n, tile, selections);
    return;
  }
  // Runs of blocks in which there is something to be found.
  masks += tile.segment * (CodeStore::kCapacity / kBlock);
  for (std::size_t b = tile.first; b < tile.last;) {
    std::size_t end = b;
    while (end < tile.last && masks[end] != 0) ++end;
    if (end > b) scan_run(batch, queries, n, {tile.list, tile.segment, b, end}, selections);
    b = end + 1;
  }
}

void Scanner::scan_run(const QueryBatch& batch, const std::size_t* queries, std::size_t n,
                       const Range& run, Selection* const* selections) const {
  const Segment& segment = store_.lists()[run.list].segments[run.segment];
  const std::size_t blocks = run.last - run.first, stride = store_.layout().block_bytes();
  std::array<const std::uint8_t*, kScanQueries> luts{};
  for (std::size_t i = 0; i < n; ++i) luts[i] = batch.luts(queries[i]);
  std::array<std::uint16_t, kScanQueries * kTileBlocks * kBlock> sums;
  kernels().scan(segment.high.data() + run.first * stride, blocks, stride, plan_.pairs.data(),
                 plan_.pairs.size(), luts.data(), n, sums.data());
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t q = queries[i];
    offer(batch[q], batch.bases(q)[run.list], run, sums.data() + i * blocks * kBlock,
          *selections[i]);
  }
}

void Scanner::offer(const Query& query, float base, const Range& tile, const std::uint16_t* sums,
                    Selection& selection) const {
  const Segment& segment = store_.lists()[tile.list].segments[tile.segment];
  const std::size_t blocks = tile.last - tile.first;
  const std::uint32_t* wanted = filter_.blocks(tile.list);
  if (wanted != nullptr) wanted += tile.segment * (CodeStore::kCapacity / kBlock) + tile.first;
  std::array<std::uint32_t, kTileBlocks> masks;
  if (wanted != nullptr && filter_.count(tile.list) <= kFew) {  // limits cost more than they spare
    std::copy_n(wanted, blocks, masks.data());
  } else {
    if (selection.list != tile.list) set_limits(query, base, tile.list, selection);
    kernels().select(sums, segment.scale.data() + tile.first * kBlock, blocks,
                     selection.limits.data(), masks.data());
    if (const std::size_t rest = segment.size % kBlock; tile.last * kBlock > segment.size) {
      masks[blocks - 1] &= (1u << rest) - 1;  // the segment's last block is not full
    }
    for (std::size_t b = 0; wanted != nullptr && b < blocks; ++b) masks[b] &= wanted[b];
  }
  static_assert(kTileBlocks <= 32);
  std::uint32_t hit = 0;  // blocks with a vector that passes: most have none
  for (std::size_t b = 0; b < blocks; ++b) hit |= (masks[b] != 0 ? 1u : 0u) << b;
  const bool risen = scoring_.euclidean()
                         ? push<true>(query, base, tile, masks.data(), hit, sums, selection)
                         : push<false>(query, base, tile, masks.data(), hit, sums, selection);
  if (risen) set_limits(query, base, tile.list, selection);
}

// Scores the vectors that passed. Returns whether the threshold rose.
template <bool kEuclidean>
bool Scanner::push(const Query& query, float base, const Range& tile, const std::uint32_t* masks,
                   std::uint32_t hit, const std::uint16_t* sums, Selection& selection) const {
  const Segment& segment = store_.lists()[tile.list].segments[tile.segment];
  const std::size_t start = store_.start(tile.list) + tile.segment * CodeStore::kCapacity;
  bool risen = false;
  for (; hit != 0; hit &= hit - 1) {
    const auto b = static_cast<std::size_t>(std::countr_zero(hit));
    const std::size_t first = (tile.first + b) * kBlock;
    const std::uint8_t* scale = segment.scale.data() + first;
    for (std::uint32_t left = masks[b]; left != 0; left &= left - 1) {
      const auto lane = static_cast<std::size_t>(std::countr_zero(left));
      const float t =
          query.unit.base + query.unit.step * static_cast<float>(sums[b * kBlock + lane]);
      const std::uint8_t extra = kEuclidean ? segment.extra[first + lane] : std::uint8_t{0};
      const float score =
          scoring_.coarse<kEuclidean>(tile.list, base, t, scale[lane], extra, query.w);
      selection.best.push(score, static_cast<std::uint32_t>(start + first + lane));
    }
    risen |= selection.best.trim();
  }
  return risen;
}

void Scanner::set_limits(const Query& query, float base, std::size_t list,
                         Selection& selection) const {
  selection.list = list;
  scoring_.limits(list, base, selection.best.threshold(), query.unit, query.w,
                  selection.limits.data());
}

}  // namespace waterfill
