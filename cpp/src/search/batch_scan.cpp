#include "search/batch_scan.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "waterfill/core/interruption.hpp"
#include "waterfill/core/thread_pool.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kFirstBlocks = 8;    // blocks of the first tiles
constexpr std::size_t kTilesPerPoll = 8;   // tiles between looks for Ctrl-C
constexpr std::size_t kTaskBlocks = 128;   // blocks per unit of work for one query
constexpr std::size_t kFewestQueries = 4;  // that a thread scans for, so that it reads codes once
constexpr std::size_t kShare = kTaskBlocks / kFirstBlocks;  // one block in so many is sampled

// The queries of a batch that scan each list. If the batch is a single query, `of` may be asked for
// its lists only.
class QueriesByList {
 public:
  QueriesByList(const std::vector<Probe>& probes, std::size_t begin, std::size_t end,
                std::size_t lists);

  std::span<const std::size_t> of(std::size_t list) const {
    if (starts_.empty()) return queries_;
    return std::span(queries_).subspan(starts_[list], starts_[list + 1] - starts_[list]);
  }

 private:
  std::vector<std::uint32_t> starts_;
  std::vector<std::size_t> queries_;
};

QueriesByList::QueriesByList(const std::vector<Probe>& probes, std::size_t begin, std::size_t end,
                             std::size_t lists) {
  if (probes.size() == 1) {
    queries_.push_back(0);
    return;
  }
  starts_.assign(lists + 1, 0);
  for (std::size_t q = begin; q < end; ++q) {
    for (const std::uint32_t list : probes[q].lists) ++starts_[list + 1];
  }
  for (std::size_t l = 0; l < lists; ++l) starts_[l + 1] += starts_[l];
  queries_.resize(starts_[lists]);
  std::vector<std::uint32_t> next(starts_.begin(), starts_.end() - 1);
  for (std::size_t q = begin; q < end; ++q) {
    for (const std::uint32_t list : probes[q].lists) queries_[next[list]++] = q;
  }
}

}  // namespace

void BatchScan::run(const QueryBatch& batch, std::vector<Probe>& probes) const {
  const std::vector<BlockRange> ranges = ranges_of(probes);
  const std::size_t shares = (probes.size() + kFewestQueries - 1) / kFewestQueries;
  if (shares < num_threads()) {
    divide_ranges(batch, ranges, (num_threads() + shares - 1) / shares, probes);
  } else {
    divide_queries(batch, ranges, probes);
  }
}

// The blocks of all lists that at least one query scans.
std::vector<BlockRange> BatchScan::ranges_of(const std::vector<Probe>& probes) const {
  std::vector<BlockRange> ranges;
  if (probes.size() == 1) {
    for (const std::uint32_t list : probes.front().lists) add_ranges(list, ranges);
    return ranges;
  }
  std::vector<bool> scanned(store_.lists().size(), false);
  for (const Probe& probe : probes) {
    for (const std::uint32_t list : probe.lists) scanned[list] = true;
  }
  for (std::size_t l = 0; l < scanned.size(); ++l) {
    if (scanned[l]) add_ranges(l, ranges);
  }
  return ranges;
}

void BatchScan::add_ranges(std::size_t list, std::vector<BlockRange>& ranges) const {
  const std::vector<Segment>& segments = store_.lists()[list].segments;
  for (std::size_t s = 0; s < segments.size(); ++s) {
    if (!scanner_.owns(list, s)) continue;
    const std::size_t blocks = blocks_for(segments[s].size);
    for (std::size_t b = 0; b < blocks; b += kTaskBlocks) {
      ranges.push_back({list, s, b, std::min(b + kTaskBlocks, blocks)});
    }
  }
}

void BatchScan::divide_queries(const QueryBatch& batch, const std::vector<BlockRange>& ranges,
                               std::vector<Probe>& probes) const {
  const std::size_t n = probes.size();
  // Two tasks per thread balance the load if another process slows one thread down.
  const std::size_t tasks = num_threads() == 1 ? 1 : 2 * num_threads();
  const std::size_t share = (n + tasks - 1) / tasks;
  const std::size_t size = (share + kFewestQueries - 1) / kFewestQueries * kFewestQueries;
  parallel_for((n + size - 1) / size, [&](std::size_t task) {
    const std::size_t begin = task * size, end = std::min(begin + size, n);
    std::vector<ScanState*> states(n, nullptr);
    for (std::size_t q = begin; q < end; ++q) states[q] = &probes[q].state;
    const Queries queries{batch, probes, begin, end, states};
    if (!with_sample(ranges)) return scan(queries, ranges);
    scan_with_sample(queries, ranges);
  });
}

// A sample of the blocks gives a threshold that few vectors exceed. It is worth it if there are
// enough of them, and no lists: the nearest lists give a better one.
bool BatchScan::with_sample(const std::vector<BlockRange>& ranges) const {
  constexpr std::size_t kFewest = 8;  // ranges
  return store_.lists().size() == 1 && ranges.size() >= kFewest && filter_.everything();
}

// Scans the first blocks of all ranges for the best of the sample, then the other blocks for
// vectors that reach the worst of these. Of N candidates, N / kShare are expected in the sample,
// give or take the square root, if vectors lie in any order. Where the N-th best does not exceed
// the threshold, some of the N may have been dropped, and all is scanned again.
void BatchScan::scan_with_sample(const Queries& queries,
                                 const std::vector<BlockRange>& ranges) const {
  constexpr double kDeviations = 4;
  const double expected = static_cast<double>(num_candidates_) / kShare;
  const auto sampled = static_cast<std::size_t>(expected + kDeviations * std::sqrt(expected) + 1);
  std::vector<BlockRange> first(ranges), rest(ranges);
  for (BlockRange& range : first) range.last = std::min(range.first + kFirstBlocks, range.last);
  for (BlockRange& range : rest) range.first = std::min(range.first + kFirstBlocks, range.last);
  const std::span states(queries.states.begin() + static_cast<std::ptrdiff_t>(queries.begin),
                         queries.states.begin() + static_cast<std::ptrdiff_t>(queries.end));
  for (ScanState* state : states) state->best.set_capacity(std::min(sampled, num_candidates_));
  scan(queries, first);
  std::vector<float> thresholds;
  thresholds.reserve(states.size());
  for (ScanState* state : states) {
    state->best.raise_threshold();
    thresholds.push_back(state->best.threshold());
    state->best.set_capacity(num_candidates_);
  }
  scan(queries, rest);
  for (std::size_t i = 0; i < states.size(); ++i) {
    if (thresholds[i] == Reservoir::kLowest) continue;  // nothing has been dropped
    states[i]->best.raise_threshold();
    if (states[i]->best.threshold() > thresholds[i]) continue;
    *states[i] = ScanState(num_candidates_);
    const std::size_t q = queries.begin + i;
    scan({queries.batch, queries.probes, q, q + 1, queries.states}, ranges);
  }
}

void BatchScan::divide_ranges(const QueryBatch& batch, const std::vector<BlockRange>& ranges,
                              std::size_t parts, std::vector<Probe>& probes) const {
  const std::size_t n = probes.size();
  parts = std::min(parts, ranges.size());
  const auto first = [&](std::size_t part) { return ranges.size() * part / parts; };
  std::vector<float> thresholds;
  thresholds.reserve(n);
  for (const Probe& probe : probes) thresholds.push_back(probe.state.best.threshold());
  // The first part goes on with the candidates of the initial probe, the others start empty.
  std::vector<std::vector<ScanState>> pieces(parts);
  parallel_for(parts, [&](std::size_t part) {
    std::vector<ScanState*> states(n);
    pieces[part].reserve(n);
    for (std::size_t q = 0; q < n; ++q) {
      states[q] =
          part == 0 ? &probes[q].state : &pieces[part].emplace_back(num_candidates_, thresholds[q]);
    }
    const auto own = std::span(ranges).subspan(first(part), first(part + 1) - first(part));
    scan({batch, probes, 0, n, states}, own);
  });
  for (std::size_t part = 1; part < parts; ++part) {
    for (std::size_t q = 0; q < n; ++q) probes[q].state.best.merge(pieces[part][q].best);
  }
}

// Scans some ranges, one tile of blocks at a time.
void BatchScan::scan(const Queries& queries, std::span<const BlockRange> ranges) const {
  const QueriesByList queries_by_list(queries.probes, queries.begin, queries.end,
                                      store_.lists().size());
  const auto next = [&](std::size_t r) {  // the first range from r on that a query scans
    while (r < ranges.size() && queries_by_list.of(ranges[r].list).empty()) ++r;
    return r;
  };
  const auto size = [&](std::size_t r) { return ranges[r].last - ranges[r].first; };
  bool starting = true;
  std::size_t tiles = 0, first = next(0);
  std::size_t ahead = next(first + 1), requested = 0;  // the next to request; blocks under way
  for (std::size_t r = first; r < ranges.size(); r = next(r + 1)) {
    const BlockRange& range = ranges[r];
    if (r != first) requested -= size(r);
    // Several ranges ahead where they are short, as in a folder of many segments.
    for (; ahead < ranges.size() && requested < kPrefetchBlocks; ahead = next(ahead + 1)) {
      scanner_.prefetch(ranges[ahead]);
      requested += size(ahead);
    }
    std::size_t blocks = 0;
    for (std::size_t b = range.first; b < range.last; b += blocks) {
      if (tiles++ % kTilesPerPoll == 0) throw_if_interrupted();
      // Short tiles at first: the threshold is updated only between tiles.
      starting = starting && b < range.first + 2 * kTileBlocks;
      blocks = std::min(starting ? kFirstBlocks : kTileBlocks, range.last - b);
      scan_tile(queries, queries_by_list.of(range.list),
                {range.list, range.segment, b, b + blocks});
    }
    starting = false;
  }
}

void BatchScan::scan_tile(const Queries& queries, std::span<const std::size_t> own,
                          const BlockRange& tile) const {
  for (std::size_t first = 0; first < own.size(); first += kScanQueries) {
    const auto some = own.subspan(first, std::min(kScanQueries, own.size() - first));
    std::array<ScanState*, kScanQueries> states{};
    for (std::size_t i = 0; i < some.size(); ++i) states[i] = queries.states[some[i]];
    scanner_.scan(queries.batch, some.data(), some.size(), tile, states.data());
  }
}

}  // namespace waterfill
