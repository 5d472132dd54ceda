// Index::search: the coarse scan of all or some lists, full scores for the best candidates, and
// exact scores for the best of these if the index keeps refine rows.
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <mutex>

#include "index/index_view.hpp"
#include "search/block_scan.hpp"
#include "search/coarse_tables.hpp"
#include "search/id_filter.hpp"
#include "search/list_pruning.hpp"
#include "search/query_batch.hpp"
#include "search/reranking.hpp"
#include "search/reservoir.hpp"
#include "search/scoring.hpp"
#include "waterfill/core/interruption.hpp"
#include "waterfill/core/row_validation.hpp"
#include "waterfill/core/thread_pool.hpp"
#include "waterfill/index/index.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kQueryBatch = 128;  // queries whose tables exist at the same time
constexpr std::size_t kFirstBlocks = 8;   // blocks of the first tiles
constexpr std::size_t kTables = 4;        // full-score tables that are computed together
constexpr std::size_t kTaskBlocks = 512;  // blocks per unit of work for one query

// The state that the threads of one search share.
class Searcher {
 public:
  Searcher(const IndexView& view, const CoarsePlan& plan, const IdFilter& filter,
           const Rows& queries, const SearchParams& params)
      : view_(view),
        filter_(filter),
        queries_(queries),
        params_(params),
        num_candidates_(std::min(params.coarse_candidates(), view.store.size())),
        plan_(plan),
        scanner_(view.store, view.scoring, plan_, filter),
        pruner_(view.store, view.scoring, scanner_, filter, params, num_candidates_),
        reranker_(view, params) {}

  // Writes labels, -1 for none.
  void run(float* distances, std::int64_t* labels) {
    for (std::size_t first = 0; first < queries_.n; first += kQueryBatch) {
      const std::size_t n = std::min(kQueryBatch, queries_.n - first);
      run_batch(first, n, distances + first * params_.k, labels + first * params_.k);
    }
  }

 private:
  // Many queries are divided among the threads; for few queries the lists are.
  void run_batch(std::size_t begin, std::size_t n, float* distances, std::int64_t* labels) {
    const std::vector<float> copy = finite_copy({queries_.row(begin), n, queries_.d}, "x", begin);
    const Rows rows{copy.data(), n, queries_.d};
    const std::int64_t* probes =
        params_.probes != nullptr ? params_.probes + begin * params_.nprobe : nullptr;
    QueryBatch batch(view_.codec, view_.scoring, plan_, view_.centroids, rows,
                     {probes, params_.nprobe});
    const std::size_t passes = (n + kScanQueries - 1) / kScanQueries;
    std::vector<Candidates> found(n);
    const bool empty = view_.store.size() == 0;
    if (empty ||
        (num_candidates_ == view_.store.size() && params_.nprobe == 0 && filter_.everything())) {
      for (Candidates& all : found) {  // all vectors are candidates
        for (std::size_t i = 0; i < num_candidates_; ++i) {
          all.emplace_back(0.0f, static_cast<std::uint32_t>(i));
        }
      }
    } else {
      std::vector<InitialProbe> initial_probes(n);
      parallel_for(n, [&](std::size_t i) {
        initial_probes[i] = pruner_.initial_probe(batch, i, begin + i);
      });
      find_ranges(initial_probes);
      if (passes < num_threads()) {
        scan_by_lists(batch, initial_probes, (num_threads() + passes - 1) / passes, found);
      } else {
        scan_by_queries(batch, initial_probes, found);
      }
    }
    const std::size_t task_queries = std::clamp<std::size_t>(n / num_threads(), 1, kTables);
    parallel_for((n + task_queries - 1) / task_queries, [&](std::size_t i) {
      const std::size_t first = i * task_queries;
      reranker_.write(rows, batch, first, std::min(task_queries, n - first), found.data(),
                      distances, labels);
    });
  }

  // The blocks of all lists that at least one query scans.
  void find_ranges(const std::vector<InitialProbe>& initial_probes) {
    std::vector<bool> scanned(view_.store.lists().size(), false);
    for (const InitialProbe& probe : initial_probes) {
      for (const std::uint32_t list : probe.lists) scanned[list] = true;
    }
    ranges_.clear();
    for (std::size_t l = 0; l < scanned.size(); ++l) {
      if (!scanned[l]) continue;
      const std::vector<Segment>& segments = view_.store.lists()[l].segments;
      for (std::size_t s = 0; s < segments.size(); ++s) {
        const std::size_t blocks = (segments[s].size + kBlock - 1) / kBlock;
        for (std::size_t b = 0; b < blocks; b += kTaskBlocks) {
          ranges_.push_back({l, s, b, std::min(b + kTaskBlocks, blocks)});
        }
      }
    }
  }

  void scan_by_queries(const QueryBatch& batch, std::vector<InitialProbe>& initial_probes,
                       std::vector<Candidates>& found) const {
    const std::size_t n = found.size();
    // Two tasks per thread balance the load if another process slows one thread down.
    const std::size_t share = (n + 2 * num_threads() - 1) / (2 * num_threads());
    const std::size_t size = (share + kScanQueries - 1) / kScanQueries * kScanQueries;
    parallel_for((n + size - 1) / size, [&](std::size_t task) {
      const std::size_t begin = task * size, end = std::min(begin + size, n);
      std::vector<ScanState> own = scan(batch, initial_probes, begin, end, 0, ranges_.size());
      for (std::size_t i = begin; i < end; ++i) {
        found[i] = std::move(initial_probes[i].found);
        add(own[i - begin], found[i]);
        keep_best(found[i], num_candidates_);
      }
    });
  }

  void scan_by_lists(const QueryBatch& batch, std::vector<InitialProbe>& initial_probes,
                     std::size_t parts, std::vector<Candidates>& found) const {
    const std::size_t n = found.size();
    parts = std::min(parts, ranges_.size());
    std::vector<std::vector<ScanState>> pieces(parts);
    parallel_for(parts, [&](std::size_t part) {
      pieces[part] = scan(batch, initial_probes, 0, n, ranges_.size() * part / parts,
                          ranges_.size() * (part + 1) / parts);
    });
    for (std::size_t i = 0; i < n; ++i) {
      found[i] = std::move(initial_probes[i].found);
      for (std::vector<ScanState>& piece : pieces) add(piece[i], found[i]);
      keep_best(found[i], num_candidates_);
    }
  }

  static void add(ScanState& state, Candidates& all) {
    const Candidates some = state.best.take();
    all.insert(all.end(), some.begin(), some.end());
  }

  // Scans some ranges for queries [begin, end), one tile of blocks at a time.
  std::vector<ScanState> scan(const QueryBatch& batch,
                              const std::vector<InitialProbe>& initial_probes, std::size_t begin,
                              std::size_t end, std::size_t first_range,
                              std::size_t last_range) const {
    std::vector<ScanState> states;
    for (std::size_t q = begin; q < end; ++q) {
      states.emplace_back(num_candidates_, initial_probes[q].threshold);
    }
    const QueriesByList queries_by_list(initial_probes, begin, end, view_.store.lists().size());
    for (std::size_t r = first_range; r < last_range; ++r) {
      const BlockRange& range = ranges_[r];
      const auto [first, last] = queries_by_list.of(range.list);
      if (first == last) continue;
      std::size_t blocks = 0;
      for (std::size_t b = range.first; b < range.last; b += blocks) {
        throw_if_interrupted();
        // Short tiles at first: the threshold is updated only between tiles.
        const bool starting = r == first_range && b < range.first + 2 * kTileBlocks;
        blocks = std::min(starting ? kFirstBlocks : kTileBlocks, range.last - b);
        for (const std::size_t* q = first; q < last; q += kScanQueries) {
          const std::size_t n = std::min(kScanQueries, static_cast<std::size_t>(last - q));
          std::array<ScanState*, kScanQueries> own{};
          for (std::size_t i = 0; i < n; ++i) own[i] = &states[q[i] - begin];
          scanner_.scan(batch, q, n, {range.list, range.segment, b, b + blocks}, own.data());
        }
      }
    }
    return states;
  }

  const IndexView& view_;
  const IdFilter& filter_;
  Rows queries_;
  const SearchParams& params_;
  std::size_t num_candidates_;
  const CoarsePlan& plan_;
  BlockScanner scanner_;
  ListPruner pruner_;
  Reranker reranker_;
  std::vector<BlockRange> ranges_;
};

}  // namespace

void Index::check(const Rows& queries, const SearchParams& params) const {
  require_dimensions(queries, "x", codec_->d());
  require(params.coarse_groups <= codec_->groups(),
          "coarse_groups is " + std::to_string(params.coarse_groups) + ", expected at most the " +
              std::to_string(codec_->groups()) + " groups of the codec");
  require(params.prune_sigma >= 0, "prune_sigma must not be negative");
  for (std::size_t i = 0; params.probes != nullptr && i < queries.n * params.nprobe; ++i) {
    require(params.probes[i] < static_cast<std::int64_t>(codec_->lists()),
            "probes: list " + std::to_string(params.probes[i]) + " does not exist; there are " +
                std::to_string(codec_->lists()));
  }
}

void Index::search(const Rows& queries, const SearchParams& params, float* distances,
                   std::int64_t* ids, const ContentArrays& contents) const {
  check(queries, params);
  require(params.k >= 1, "k must be at least 1");
  const std::shared_lock lock(locks_.state);
  require(params.refine_candidates == 0 || refine_rows_ != nullptr,
          "refine_candidates: the index keeps no refine rows");
  const std::shared_ptr<const IdFilter> filter = this->filter(params.selector);
  const IndexView view = this->view();
  const std::shared_ptr<const CoarsePlan> plan = coarse_plan(params.coarse_groups);
  Searcher(view, *plan, *filter, queries, params).run(distances, ids);  // labels, for now
  const std::size_t n = queries.n * params.k;
  read_contents(ids, n, contents);
  if (!ids_.is_explicit()) return;
  for (std::size_t i = 0; i < n; ++i) {
    if (ids[i] >= 0) ids[i] = ids_[static_cast<std::size_t>(ids[i])];
  }
}

}  // namespace waterfill
