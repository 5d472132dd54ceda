// Index::search: the coarse scan of all or some lists, full scores for the best candidates, and
// exact scores for the best of these if the index keeps refine rows.
#include <algorithm>
#include <array>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "index/index_view.hpp"
#include "search/batch_scan.hpp"
#include "search/block_scan.hpp"
#include "search/coarse_tables.hpp"
#include "search/id_filter.hpp"
#include "search/list_pruning.hpp"
#include "search/query_batch.hpp"
#include "search/query_batches.hpp"
#include "search/reranking.hpp"
#include "search/scoring.hpp"
#include "waterfill/core/thread_pool.hpp"
#include "waterfill/index/index.hpp"

namespace waterfill {

// What a search reads of an index, while it is locked.
struct SearchState {
  const IndexView& view;
  const CoarsePlan& plan;
  const IdFilter& filter;
};

namespace {

constexpr std::size_t kQueryBatch = 128;    // queries whose tables exist at the same time
constexpr std::size_t kDeviceBatch = 1024;  // the same for the scans of a device, at most
constexpr std::size_t kDeviceTerms = std::size_t{1} << 22;  // and terms of lists
constexpr std::size_t kTables = 4;  // full-score tables that are computed together

// The state that the threads of one search share.
class Searcher {
 public:
  Searcher(const SearchState& state, const Rows& queries, const SearchParams& params,
           const PartRange& share = {})
      : view_(state.view),
        filter_(state.filter),
        queries_(queries),
        params_(params),
        num_candidates_(std::min(params.coarse_candidates(), view_.store.live())),
        plan_(state.plan),
        share_(share),
        scanner_(view_.store, view_.scoring, plan_, filter_, share),
        pruner_(view_.store, view_.scoring, scanner_, filter_, params, num_candidates_),
        scan_(view_.store, scanner_, filter_, num_candidates_),
        reranker_(view_, params) {}

  // Writes labels, -1 for none.
  void run(float* distances, std::int64_t* labels) {
    each_batch([&](const Rows& rows, QueryBatch& batch, std::size_t begin) {
      std::vector<Candidates> found = candidates(batch, begin, nullptr);
      const std::size_t n = rows.n, at = begin * params_.k;
      const std::size_t task_queries = std::clamp<std::size_t>(n / num_threads(), 1, kTables);
      parallel_for((n + task_queries - 1) / task_queries, [&](std::size_t i) {
        const std::size_t first = i * task_queries;
        reranker_.write(rows, batch, first, std::min(task_queries, n - first), found.data(),
                        distances + at, labels + at);
      });
    });
  }

  // Returns the candidates of the share; see `Index::search_share`.
  ShareCandidates run_share(const float* thresholds) {
    const bool nearest = thresholds == nullptr && view_.store.lists().size() > 1;
    ShareCandidates all;
    each_batch([&](const Rows& rows, QueryBatch& batch, std::size_t begin) {
      std::vector<Candidates> found(rows.n);
      if (!nearest) {
        found = candidates(batch, begin, thresholds);
      } else if (!takes_all()) {
        parallel_for(rows.n, [&](std::size_t i) {
          found[i] = pruner_.initial_probe(batch, i, begin + i).state.best.take();
        });
      }
      reranker_.score_all(rows, batch, found, all);
    });
    return all;
  }

  // Returns what a device needs to find the candidates.
  std::optional<ScanTables> tables() const {
    if (takes_all()) return std::nullopt;
    ScanTables all;
    all.pairs = plan_.pairs;
    std::vector<bool> scanned(view_.store.lists().size(), false);
    const std::size_t size = std::clamp(kDeviceTerms / scanned.size(), kQueryBatch, kDeviceBatch);
    const auto visit = [&](const Rows& rows, QueryBatch& batch, std::size_t begin) {
      std::vector<RankedLists> ranked(rows.n);
      parallel_for(rows.n,
                   [&](std::size_t i) { ranked[i] = pruner_.ranked_lists(batch, i, begin + i); });
      for (std::size_t i = 0; i < rows.n; ++i) {
        append_lists(batch, i, ranked[i].nearest, all.nearest, scanned);
        append_lists(batch, i, ranked[i].others, all.others, scanned);
        append(all.bounds, ranked[i].bounds.data(), ranked[i].bounds.size());
        append_tables(batch, i, all);
      }
    };
    each_query_batch(view_, plan_, queries_, params_, size, reranker_.with_full(), visit);
    all.masks = masks_of(view_.store, filter_, scanned);
    return all;
  }

  void merge(const ShareCandidates& found, float* distances, std::int64_t* labels) {
    const std::vector<float> copy = finite_copy(queries_, "x", 0);
    parallel_for(queries_.n, [&](std::size_t q) {
      const float* row = copy.data() + q * queries_.d;
      const int exponent = scale_exponent(view_.codec, view_.scoring, row);
      reranker_.merge(row, exponent, found, q, num_candidates_, distances + q * params_.k,
                      labels + q * params_.k);
    });
  }

 private:
  // Calls visit(rows, batch, number of the first query) for all queries.
  template <class Visit>
  void each_batch(Visit visit) const {
    each_query_batch(view_, plan_, queries_, params_, kQueryBatch, reranker_.with_full(), visit);
  }

  template <class T>
  static void append(std::vector<T>& to, const T* values, std::size_t n) {
    to.insert(to.end(), values, values + n);
  }

  static void append_lists(const QueryBatch& batch, std::size_t i,
                           const std::vector<std::uint32_t>& lists, ScanTables::Lists& to,
                           std::vector<bool>& scanned) {
    for (const std::uint32_t list : lists) {
      to.add(list, batch.list_terms(i)[list]);
      scanned[list] = true;
    }
    to.end_query();
  }

  void append_tables(const QueryBatch& batch, std::size_t i, ScanTables& all) const {
    const Query& query = batch[i];
    append(all.luts, batch.luts(i), plan_.lut_bytes());
    append(all.projected, query.projected, view_.codec.transform().stride());
    append(all.scaled, query.scaled, view_.codec.d());
    append(all.units, std::array{query.unit.bias, query.unit.step, query.w}.data(), 3);
  }

  // Whether all vectors are candidates.
  bool takes_all() const {
    return view_.store.live() == 0 ||
           (num_candidates_ == view_.store.live() && params_.nprobe == 0 && filter_.everything());
  }

  // The candidates of the share by coarse score. thresholds: of a scan of the nearest lists, or
  // null before it.
  std::vector<Candidates> candidates(QueryBatch& batch, std::size_t begin,
                                     const float* thresholds) const {
    const std::size_t n = batch.size();
    std::vector<Candidates> found(n);
    if (takes_all()) {
      for (Candidates& all : found) {
        all.reserve(num_candidates_);
        for (std::size_t l = 0; l < view_.store.lists().size(); ++l) {
          each_selected(view_.store, filter_, l, share_,
                        [&](std::uint32_t slot) { all.emplace_back(0.0f, slot); });
        }
      }
      return found;
    }
    std::vector<Probe> probes(n);
    parallel_for(n, [&](std::size_t i) {
      const float* known = thresholds == nullptr ? nullptr : thresholds + begin + i;
      probes[i] = pruner_.initial_probe(batch, i, begin + i, known);
    });
    scan_.run(batch, probes);
    for (std::size_t i = 0; i < n; ++i) found[i] = probes[i].state.best.take();
    return found;
  }

  const IndexView& view_;
  const IdFilter& filter_;
  Rows queries_;
  const SearchParams& params_;
  std::size_t num_candidates_;
  const CoarsePlan& plan_;
  PartRange share_;
  BlockScanner scanner_;
  ListPruner pruner_;
  BatchScan scan_;
  Reranker reranker_;
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

template <class Use>
void Index::locked_search(const Rows& queries, const SearchParams& params, Use use) const {
  check(queries, params);
  require(params.k >= 1, "k must be at least 1");
  const std::shared_lock lock(locks_.state);
  require(params.refine_candidates == 0 || refine_rows_ != nullptr,
          "refine_candidates: the index keeps no refine rows");
  const std::shared_ptr<const IdFilter> filter = this->filter(params.selector);
  const IndexView view = this->view();
  const std::shared_ptr<const CoarsePlan> plan = coarse_plan(params.coarse_groups);
  use(SearchState{view, *plan, *filter});
}

void Index::replace_labels(std::int64_t* labels, std::size_t n) const {
  if (!ids_.is_explicit()) return;
  for (std::size_t i = 0; i < n; ++i) {
    if (labels[i] >= 0) labels[i] = ids_[static_cast<std::size_t>(labels[i])];
  }
}

void Index::search(const Rows& queries, const SearchParams& params, float* distances,
                   std::int64_t* ids, const ContentArrays& contents) const {
  locked_search(queries, params, [&](const SearchState& state) {
    Searcher(state, queries, params).run(distances, ids);  // labels, for now
    read_contents(ids, queries.n * params.k, contents);
    replace_labels(ids, queries.n * params.k);
  });
}

ShareCandidates Index::search_share(const Rows& queries, const SearchParams& params,
                                    const PartRange& share, const float* thresholds) const {
  ShareCandidates found;
  locked_search(queries, params, [&](const SearchState& state) {
    found = Searcher(state, queries, params, share).run_share(thresholds);
  });
  return found;
}

void Index::merge_shares(const Rows& queries, const SearchParams& params,
                         const ShareCandidates& found, float* distances, std::int64_t* ids) const {
  locked_search(queries, params, [&](const SearchState& state) {
    require(found.limits.size() == queries.n + 1, "found: expected candidates of each query");
    for (std::size_t i = 0; i < found.slots.size(); ++i) {
      const std::uint32_t label = found.has_labels() ? found.labels[i] : 0;
      require(std::max(found.slots[i], label) < store_.size(),
              "found: candidates of another state of the index");
    }
    Searcher(state, queries, params).merge(found, distances, ids);
    replace_labels(ids, queries.n * params.k);
  });
}

std::optional<ScanTables> Index::scan_tables(const Rows& queries,
                                             const SearchParams& params) const {
  std::optional<ScanTables> tables;
  locked_search(queries, params, [&](const SearchState& state) {
    tables = Searcher(state, queries, params).tables();
  });
  return tables;
}

std::size_t Index::parts() const {
  const std::shared_lock lock(locks_.state);
  return store_.parts();
}

}  // namespace waterfill
