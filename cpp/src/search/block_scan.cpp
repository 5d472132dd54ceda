#include "search/block_scan.hpp"

#include <algorithm>
#include <bit>

#include "waterfill/core/prefetch.hpp"

namespace waterfill {
namespace {

// Up to this many selected vectors of a list are scored without computing limits.
constexpr std::size_t kFew = 32;

}  // namespace

void BlockScanner::scan_list(const QueryBatch& batch, std::size_t query, std::size_t list,
                             ScanState& state) const {
  const std::vector<Segment>& segments = store_.lists()[list].segments;
  ScanState* const states[] = {&state};
  for (std::size_t s = 0; s < segments.size(); ++s) {
    if (!owns(list, s)) continue;
    const std::size_t blocks = blocks_for(segments[s].size);
    for (std::size_t b = 0; b < blocks; b += kTileBlocks) {
      scan(batch, &query, 1, {list, s, b, std::min(b + kTileBlocks, blocks)}, states);
    }
  }
}

void BlockScanner::prefetch(const BlockRange& range) const {
  const Segment& segment = store_.lists()[range.list].segments[range.segment];
  const std::size_t stride = store_.layout().block_bytes();
  const std::size_t blocks = std::min(kPrefetchBlocks, range.last - range.first);
  const std::size_t read = (plan_.pairs.back() + 1) * kPairBytes;  // pairs ascend
  const std::uint8_t* high = segment.high.data() + range.first * stride;
  for (std::size_t b = 0; b < blocks; ++b) prefetch_bytes(high + b * stride, read);
  prefetch_bytes(segment.scale.data() + range.first * kBlock, 2 * blocks * kBlock);
}

void BlockScanner::prefetch(std::size_t list) const {
  const List& own = store_.lists()[list];
  if (own.size > 0) prefetch({list, 0, 0, blocks_for(own.segments[0].size)});
}

void BlockScanner::scan(const QueryBatch& batch, const std::size_t* queries, std::size_t n,
                        const BlockRange& tile, ScanState* const* states) const {
  const std::uint32_t* masks = filter_.blocks(tile.list);
  if (masks == nullptr) {
    scan_run(batch, queries, n, tile, states);
    return;
  }
  // Runs of blocks with selected vectors.
  masks += store_.lists()[tile.list].segments[tile.segment].first_block;
  for (std::size_t b = tile.first; b < tile.last;) {
    std::size_t end = b;
    while (end < tile.last && masks[end] != 0) ++end;
    if (end > b) scan_run(batch, queries, n, {tile.list, tile.segment, b, end}, states);
    b = end + 1;
  }
}

void BlockScanner::scan_run(const QueryBatch& batch, const std::size_t* queries, std::size_t n,
                            const BlockRange& run, ScanState* const* states) const {
  const Segment& segment = store_.lists()[run.list].segments[run.segment];
  const std::size_t blocks = run.last - run.first, stride = store_.layout().block_bytes();
  std::array<const std::uint8_t*, kScanQueries> luts{};
  for (std::size_t i = 0; i < n; ++i) luts[i] = batch.luts(queries[i]);
  std::array<std::uint16_t, kScanQueries * kTileBlocks * kBlock> sums;
  kernels().scan(segment.high.data() + run.first * stride, blocks, stride, plan_.pairs.data(),
                 plan_.pairs.size(), luts.data(), n, sums.data());
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t q = queries[i];
    offer(batch[q], batch.list_terms(q)[run.list], run, sums.data() + i * blocks * kBlock,
          *states[i]);
  }
}

void BlockScanner::offer(const Query& query, float list_term, const BlockRange& tile,
                         const std::uint16_t* sums, ScanState& state) const {
  const Segment& segment = store_.lists()[tile.list].segments[tile.segment];
  const std::size_t blocks = tile.last - tile.first, first = tile.first * kBlock;
  const std::uint32_t* selected = filter_.blocks(tile.list);
  if (selected != nullptr) selected += segment.first_block + tile.first;
  std::array<float, kTileBlocks * kBlock> scores;
  std::array<std::uint32_t, kTileBlocks> masks;
  if (scoring_.euclidean()) {
    const CoarseKernels& coarse = kernels().coarse;
    const auto score = scoring_.with_cells() ? coarse.with_cells : coarse.without_cells;
    score(sums, segment.scale.data() + first, segment.extra.data() + first, blocks,
          scoring_.coarse_terms(tile.list, list_term, query.unit, query.w), state.best.threshold(),
          scores.data(), masks.data());
  } else if (selected != nullptr && filter_.count(tile.list) <= kFew) {  // cheaper than limits
    std::fill_n(masks.data(), blocks, ~std::uint32_t{0});
  } else {
    if (state.list != tile.list) set_limits(query, list_term, tile.list, state);
    kernels().select(sums, segment.scale.data() + first, blocks, state.limits.data(), masks.data());
  }
  if (const std::size_t rest = segment.size % kBlock; tile.last * kBlock > segment.size) {
    masks[blocks - 1] &= (1u << rest) - 1;  // the last block of a segment may be partly filled
  }
  static_assert(kTileBlocks <= 32 && kBlock <= Reservoir::kBurst);
  std::uint32_t nonempty = 0;  // blocks with a vector that may enter; most have none
  for (std::size_t b = 0; b < blocks; ++b) {
    if (selected != nullptr) masks[b] &= selected[b];
    nonempty |= (masks[b] != 0 ? 1u : 0u) << b;
  }
  const std::size_t start = store_.start(tile.list) + segment.first + first;
  bool risen = false;
  for (; nonempty != 0; nonempty &= nonempty - 1) {
    const auto b = static_cast<std::size_t>(std::countr_zero(nonempty));
    float* own = scores.data() + b * kBlock;
    if (!scoring_.euclidean()) {
      score_products(query, list_term, segment.scale.data() + first + b * kBlock, masks[b],
                     sums + b * kBlock, own);
    }
    state.best.push(own, masks[b], static_cast<std::uint32_t>(start + b * kBlock));
    risen |= state.best.trim();
  }
  if (risen && !scoring_.euclidean()) set_limits(query, list_term, tile.list, state);
}

// Scores the vectors of a block that are in a mask.
void BlockScanner::score_products(const Query& query, float list_term, const std::uint8_t* scale,
                                  std::uint32_t mask, const std::uint16_t* sums,
                                  float* scores) const {
  for (; mask != 0; mask &= mask - 1) {
    const auto lane = static_cast<std::size_t>(std::countr_zero(mask));
    const float t = query.unit.bias + query.unit.step * static_cast<float>(sums[lane]);
    scores[lane] = scoring_.product(list_term, t, scale[lane]);
  }
}

void BlockScanner::set_limits(const Query& query, float list_term, std::size_t list,
                              ScanState& state) const {
  state.list = list;
  scoring_.limits(list, list_term, state.best.threshold(), query.unit, state.limits.data());
}

}  // namespace waterfill
