// Two stages or three: the high nibbles of the vectors through tables in registers, whole bytes for
// the best candidates, and where exact rows are kept those for the best of them.
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <mutex>

#include "search/block_scan.hpp"
#include "search/coarse_tables.hpp"
#include "search/id_filter.hpp"
#include "search/list_pruning.hpp"
#include "search/query_batch.hpp"
#include "search/reranking.hpp"
#include "search/reservoir.hpp"
#include "search/scoring.hpp"
#include "waterfill/core/thread_pool.hpp"
#include "waterfill/index/index.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kQueryBatch = 128;  // queries whose tables exist at a time
constexpr std::size_t kFirstBlocks = 8;   // of a tile at first
constexpr std::size_t kTables = 4;        // of full scores that are made together
constexpr std::size_t kTaskBlocks = 512;  // the least a thread is given of one query's scan

// Everything that one call of search shares between its threads.
class Searcher {
 public:
  Searcher(const IndexView& view, const CoarsePlan& plan, const Filter& filter, const Rows& queries,
           const SearchParams& params)
      : view_(view),
        filter_(filter),
        queries_(queries),
        params_(params),
        wanted_(std::min(params.wanted(), view.store.size())),
        plan_(plan),
        scanner_(view.store, view.scoring, plan_, filter),
        prober_(view.store, view.scoring, scanner_, filter, params, wanted_),
        results_(view, params) {}

  void run(float* distances, std::int64_t* ids) {
    for (std::size_t first = 0; first < queries_.n; first += kQueryBatch) {
      const std::size_t n = std::min(kQueryBatch, queries_.n - first);
      run_batch(first, n, distances + first * params_.k, ids + first * params_.k);
    }
  }

 private:
  // Many queries are shared out between threads, of few each thread searches a part of the index.
  void run_batch(std::size_t begin, std::size_t n, float* distances, std::int64_t* ids) {
    const Rows rows{queries_.row(begin), n, queries_.d};
    const std::int64_t* probes =
        params_.probes != nullptr ? params_.probes + begin * params_.nprobe : nullptr;
    QueryBatch batch(view_.codec, view_.scoring, plan_, view_.centroids, rows,
                     {probes, params_.nprobe});
    const std::size_t passes = (n + kScanQueries - 1) / kScanQueries;
    std::vector<Candidates> found(n);
    const bool none = view_.store.size() == 0;
    if (none || (wanted_ == view_.store.size() && params_.nprobe == 0 && filter_.everything())) {
      for (Candidates& all : found) {  // nothing to choose: all of them
        for (std::size_t i = 0; i < wanted_; ++i) {
          all.emplace_back(0.0f, static_cast<std::uint32_t>(i));
        }
      }
    } else {
      std::vector<Opening> openings(n);
      parallel_for(n, [&](std::size_t i) { openings[i] = prober_.open(batch, i, begin + i); });
      find_ranges(openings);
      if (passes < num_threads()) {
        scan_in_parts(batch, openings, (num_threads() + passes - 1) / passes, found);
      } else {
        scan_in_turns(batch, openings, found);
      }
    }
    const std::size_t together = std::clamp<std::size_t>(n / num_threads(), 1, kTables);
    parallel_for((n + together - 1) / together, [&](std::size_t i) {
      const std::size_t first = i * together;
      results_.write(rows, batch, first, std::min(together, n - first), found.data(), distances,
                     ids);
    });
  }

  // The ranges of all lists that some query wants.
  void find_ranges(const std::vector<Opening>& openings) {
    std::vector<bool> wanted(view_.store.lists().size(), false);
    for (const Opening& opening : openings) {
      for (const std::uint32_t list : opening.lists) wanted[list] = true;
    }
    ranges_.clear();
    for (std::size_t l = 0; l < wanted.size(); ++l) {
      if (!wanted[l]) continue;
      const std::vector<Segment>& segments = view_.store.lists()[l].segments;
      for (std::size_t s = 0; s < segments.size(); ++s) {
        const std::size_t blocks = (segments[s].size + kBlock - 1) / kBlock;
        for (std::size_t b = 0; b < blocks; b += kTaskBlocks) {
          ranges_.push_back({l, s, b, std::min(b + kTaskBlocks, blocks)});
        }
      }
    }
  }

  void scan_in_turns(const QueryBatch& batch, std::vector<Opening>& openings,
                     std::vector<Candidates>& found) const {
    const std::size_t n = found.size();
    // Two turns a thread even out what other work on the machine takes from one of them.
    const std::size_t share = (n + 2 * num_threads() - 1) / (2 * num_threads());
    const std::size_t size = (share + kScanQueries - 1) / kScanQueries * kScanQueries;
    parallel_for((n + size - 1) / size, [&](std::size_t turn) {
      const std::size_t begin = turn * size, end = std::min(begin + size, n);
      std::vector<Selection> own = scan(batch, openings, begin, end, 0, ranges_.size());
      for (std::size_t i = begin; i < end; ++i) {
        found[i] = std::move(openings[i].found);
        add(own[i - begin], found[i]);
        keep_best(found[i], wanted_);
      }
    });
  }

  void scan_in_parts(const QueryBatch& batch, std::vector<Opening>& openings, std::size_t parts,
                     std::vector<Candidates>& found) const {
    const std::size_t n = found.size();
    parts = std::min(parts, ranges_.size());
    std::vector<std::vector<Selection>> pieces(parts);
    parallel_for(parts, [&](std::size_t part) {
      pieces[part] = scan(batch, openings, 0, n, ranges_.size() * part / parts,
                          ranges_.size() * (part + 1) / parts);
    });
    for (std::size_t i = 0; i < n; ++i) {
      found[i] = std::move(openings[i].found);
      for (std::vector<Selection>& piece : pieces) add(piece[i], found[i]);
      keep_best(found[i], wanted_);
    }
  }

  static void add(Selection& selection, Candidates& all) {
    const Candidates some = selection.best.take();
    all.insert(all.end(), some.begin(), some.end());
  }

  // Scans some ranges for queries [begin, end), a tile of blocks at a time.
  std::vector<Selection> scan(const QueryBatch& batch, const std::vector<Opening>& openings,
                              std::size_t begin, std::size_t end, std::size_t first_range,
                              std::size_t last_range) const {
    std::vector<Selection> selections;
    for (std::size_t q = begin; q < end; ++q) {
      selections.emplace_back(wanted_, openings[q].threshold);
    }
    const Wishes wishes(openings, begin, end, view_.store.lists().size());
    for (std::size_t r = first_range; r < last_range; ++r) {
      const Range& range = ranges_[r];
      const auto [first, last] = wishes.of(range.list);
      if (first == last) continue;
      std::size_t blocks = 0;
      for (std::size_t b = range.first; b < range.last; b += blocks) {
        // Short tiles until there is a threshold to speak of: all of a tile see the same one.
        const bool starting = r == first_range && b < range.first + 2 * kTileBlocks;
        blocks = std::min(starting ? kFirstBlocks : kTileBlocks, range.last - b);
        for (const std::size_t* q = first; q < last; q += kScanQueries) {
          const std::size_t n = std::min(kScanQueries, static_cast<std::size_t>(last - q));
          std::array<Selection*, kScanQueries> own{};
          for (std::size_t i = 0; i < n; ++i) own[i] = &selections[q[i] - begin];
          scanner_.scan(batch, q, n, {range.list, range.segment, b, b + blocks}, own.data());
        }
      }
    }
    return selections;
  }

  const IndexView& view_;
  const Filter& filter_;
  Rows queries_;
  const SearchParams& params_;
  std::size_t wanted_;
  const CoarsePlan& plan_;
  Scanner scanner_;
  Prober prober_;
  Results results_;
  std::vector<Range> ranges_;
};

}  // namespace

void Index::check(const Rows& queries, const SearchParams& params) const {
  require(queries.d == codec_->d(), "x has " + std::to_string(queries.d) +
                                        " dimensions; the index has " +
                                        std::to_string(codec_->d()));
  require(params.scan_groups <= codec_->groups(),
          "scan_groups=" + std::to_string(params.scan_groups) + " must be at most the " +
              std::to_string(codec_->groups()) + " groups of the codec");
  require(params.reach >= 0, "reach must not be negative");
  for (std::size_t i = 0; params.probes != nullptr && i < queries.n * params.nprobe; ++i) {
    require(params.probes[i] < static_cast<std::int64_t>(codec_->lists()),
            "probes name list " + std::to_string(params.probes[i]) + " of " +
                std::to_string(codec_->lists()));
  }
}

void Index::search(const Rows& queries, const SearchParams& params, float* distances,
                   std::int64_t* ids) const {
  check(queries, params);
  require(params.k >= 1, "k=0 must be at least 1");
  const std::shared_lock lock(mutex_);
  require(params.exact == 0 || exact_ != nullptr, "k_factor: the index keeps no exact rows");
  const std::shared_ptr<const Filter> filter = this->filter(params.selector);
  const IndexView view = this->view();
  const std::shared_ptr<const CoarsePlan> plan = coarse_plan(params.scan_groups);
  Searcher(view, *plan, *filter, queries, params).run(distances, ids);
}

}  // namespace waterfill
