#include "search/block_scan.hpp"

#include <algorithm>
#include <bit>

namespace waterfill {
namespace {

// Up to this many selected vectors of a list are scored without computing limits.
constexpr std::size_t kFew = 32;
// The same for the blocks of a tile of an L2 index with cells.
constexpr std::size_t kFewBlocks = 8;

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
  constexpr std::size_t kLine = 64;
  const Segment& segment = store_.lists()[range.list].segments[range.segment];
  const std::size_t stride = store_.layout().block_bytes();
  const std::size_t blocks = std::min(kPrefetchBlocks, range.last - range.first);
  const std::uint8_t* high = segment.high.data() + range.first * stride;
  for (std::size_t at = 0; at < blocks * stride; at += kLine) __builtin_prefetch(high + at);
  const std::uint8_t* scale = segment.scale.data() + range.first * kBlock;
  for (std::size_t at = 0; at < 2 * blocks * kBlock; at += kLine) __builtin_prefetch(scale + at);
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
  const std::size_t blocks = tile.last - tile.first;
  const std::uint32_t* selected = filter_.blocks(tile.list);
  if (selected != nullptr) selected += segment.first_block + tile.first;
  const bool with_offsets = scoring_.euclidean() && scoring_.with_cells();
  std::array<std::uint32_t, kTileBlocks> masks;
  const bool all = (selected != nullptr && filter_.count(tile.list) <= kFew) ||
                   (with_offsets && blocks <= kFewBlocks);
  if (all) {  // cheaper than limits
    std::fill_n(masks.data(), blocks, ~std::uint32_t{0});
  } else {
    if (state.list != tile.list) set_limits(query, list_term, tile.list, state);
    kernels().select(sums, segment.scale.data() + tile.first * kBlock, blocks, state.limits.data(),
                     masks.data());
  }
  if (const std::size_t rest = segment.size % kBlock; tile.last * kBlock > segment.size) {
    masks[blocks - 1] &= (1u << rest) - 1;  // the last block of a segment may be partly filled
  }
  for (std::size_t b = 0; selected != nullptr && b < blocks; ++b) masks[b] &= selected[b];
  const Offer offer{query, list_term, tile, masks.data(), sums};
  const bool risen = with_offsets           ? push_offset_scores(offer, state)
                     : scoring_.euclidean() ? push<true>(offer, state)
                                            : push<false>(offer, state);
  if (risen && !all) set_limits(query, list_term, tile.list, state);
}

// Scores the vectors that passed. Returns whether the threshold rose.
template <bool kEuclidean>
bool BlockScanner::push(const Offer& offer, ScanState& state) const {
  const Segment& segment = store_.lists()[offer.tile.list].segments[offer.tile.segment];
  const Query& query = offer.query;
  return push_blocks(offer, state, [&](std::size_t b, std::size_t first, float* scores) {
    const std::uint8_t* scale = segment.scale.data() + first;
    for (std::uint32_t left = offer.masks[b]; left != 0; left &= left - 1) {
      const auto lane = static_cast<std::size_t>(std::countr_zero(left));
      const float t =
          query.unit.bias + query.unit.step * static_cast<float>(offer.sums[b * kBlock + lane]);
      const std::uint8_t extra = kEuclidean ? segment.extra[first + lane] : std::uint8_t{0};
      scores[lane] = scoring_.coarse<kEuclidean>(offer.list_term, t, scale[lane], extra, query.w);
    }
    return offer.masks[b];
  });
}

// The same for an L2 index with cells. Its second byte loosens the limits: only a quarter of the
// vectors that they let pass reach the threshold, so a block is scored as a whole.
bool BlockScanner::push_offset_scores(const Offer& offer, ScanState& state) const {
  const Segment& segment = store_.lists()[offer.tile.list].segments[offer.tile.segment];
  const OffsetTerms terms =
      scoring_.offset_terms(offer.tile.list, offer.list_term, offer.query.unit, offer.query.w);
  const OffsetKernel kernel = kernels().offset_scores;
  return push_blocks(offer, state, [&](std::size_t b, std::size_t first, float* scores) {
    return offer.masks[b] & kernel(offer.sums + b * kBlock, segment.scale.data() + first,
                                   segment.extra.data() + first, terms, state.best.threshold(),
                                   scores);
  });
}

// score(block of the tile, its first vector in the segment, scores) returns the vectors to push.
template <class Score>
bool BlockScanner::push_blocks(const Offer& offer, ScanState& state, Score score) const {
  static_assert(kTileBlocks <= 32 && kBlock <= Reservoir::kBurst);
  const Segment& segment = store_.lists()[offer.tile.list].segments[offer.tile.segment];
  const std::size_t start = store_.start(offer.tile.list) + segment.first;
  std::uint32_t nonempty = 0;  // blocks with a vector that passed; most have none
  for (std::size_t b = 0; b < offer.tile.last - offer.tile.first; ++b) {
    nonempty |= (offer.masks[b] != 0 ? 1u : 0u) << b;
  }
  std::array<float, kBlock> scores;
  bool risen = false;
  for (; nonempty != 0; nonempty &= nonempty - 1) {
    const auto b = static_cast<std::size_t>(std::countr_zero(nonempty));
    const std::size_t first = (offer.tile.first + b) * kBlock;
    const std::uint32_t mask = score(b, first, scores.data());
    state.best.push(scores.data(), mask, static_cast<std::uint32_t>(start + first));
    risen |= state.best.trim();
  }
  return risen;
}

void BlockScanner::set_limits(const Query& query, float list_term, std::size_t list,
                              ScanState& state) const {
  state.list = list;
  scoring_.limits(list, list_term, state.best.threshold(), query.unit, query.w,
                  state.limits.data());
}

}  // namespace waterfill
