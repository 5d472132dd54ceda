// Index::range_search: all vectors of the probed lists within a radius, by exact scores if there
// are refine rows, otherwise by full scores, which a device may compute.
#include <algorithm>
#include <mutex>

#include "index/index_view.hpp"
#include "kernels.hpp"
#include "search/block_scan.hpp"
#include "search/coarse_tables.hpp"
#include "search/id_filter.hpp"
#include "search/list_pruning.hpp"
#include "search/query_batch.hpp"
#include "search/query_batches.hpp"
#include "search/reranking.hpp"
#include "waterfill/core/arithmetic.hpp"
#include "waterfill/core/thread_pool.hpp"
#include "waterfill/index/index.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kQueryBatch = 16;
constexpr std::size_t kTaskVectors = 32768;  // vectors per task

struct Found {
  std::uint32_t label;
  float distance;
};

class RangeSearcher {
 public:
  RangeSearcher(const IndexView& view, const CoarsePlan& plan, const IdFilter& filter,
                const Rows& queries, float radius, const SearchParams& params)
      : view_(view),
        filter_(filter),
        queries_(queries),
        radius_(radius),
        params_(params),
        plan_(plan),
        scanner_(view.store, view.scoring, plan_, filter),
        pruner_(view.store, view.scoring, scanner_, filter, params, 0),
        reranker_(view, params) {}

  RangeResult run() const {
    RangeResult result{{0}, {}, {}};
    each_query_batch(view_, plan_, queries_, params_, kQueryBatch, true,
                     [&](const Rows& rows, QueryBatch& batch, std::size_t begin) {
                       for (std::size_t q = 0; q < rows.n; ++q) {
                         std::vector<Task> tasks = split_into_tasks(batch, q, begin + q);
                         parallel_for(tasks.size(),
                                      [&](std::size_t i) { score(rows.row(q), batch, tasks[i]); });
                         std::vector<Found> all;
                         for (const Task& task : tasks)
                           all.insert(all.end(), task.found.begin(), task.found.end());
                         append(std::move(all), result);
                       }
                     });
    return result;
  }

  // What a device needs to find the slots and scores for `merge`.
  ScanTables tables() const {
    ScanTables all;
    std::vector<bool> scanned(view_.store.lists().size(), false);
    each_query_batch(
        view_, plan_, queries_, params_, kQueryBatch, true,
        [&](const Rows& rows, QueryBatch& batch, std::size_t begin) {
          for (std::size_t i = 0; i < rows.n; ++i) {
            for (const std::uint32_t list : pruner_.probed_lists(batch, i, begin + i)) {
              all.nearest.add(list, batch.list_terms(i)[list]);
              scanned[list] = true;
            }
            const Query& query = batch[i];
            all.nearest.end_query();
            all.units.insert(all.units.end(), {query.unit.bias, query.unit.step, query.w});
            all.projected.insert(all.projected.end(), query.projected,
                                 query.projected + view_.codec.transform().stride());
            all.least.push_back(least_score(query.exponent, reranker_.score_offset(rows.row(i))));
          }
        });
    all.masks = masks_of(view_.store, filter_, scanned);
    return all;
  }

  RangeResult merge(const std::vector<std::size_t>& limits, const std::vector<std::uint32_t>& slots,
                    const std::vector<float>& scores) const {
    RangeResult result{{0}, {}, {}};
    const std::vector<float> copy = finite_copy(queries_, "x", 0);
    for (std::size_t q = 0; q < queries_.n; ++q) {
      const float* row = copy.data() + q * queries_.d;
      const int exponent = scale_exponent(view_.codec, view_.scoring, row);
      const double offset = reranker_.score_offset(row);
      std::vector<Found> all;
      for (std::size_t f = limits[q]; f < limits[q + 1]; ++f) {
        all.push_back({label_of(slots[f]), reranker_.distance(scores[f], exponent, offset)});
      }
      append(std::move(all), result);
    }
    return result;
  }

 private:
  // Slots to score for one query.
  struct Task {
    std::size_t query;
    std::vector<std::uint32_t> slots;
    std::vector<Found> found;
  };

  // Appends the results of a query.
  void append(std::vector<Found> all, RangeResult& result) const {
    std::sort(all.begin(), all.end(),
              [](const Found& a, const Found& b) { return a.label < b.label; });
    for (const Found& one : all) {
      result.ids.push_back(view_.ids[one.label]);
      result.distances.push_back(one.distance);
    }
    result.limits.push_back(result.ids.size());
  }

  std::uint32_t label_of(std::uint32_t slot) const {
    const std::size_t list = view_.store.list_of(slot);
    return view_.store.label(list, slot - view_.store.start(list));
  }

  // The least full score whose distance lies within the radius, as ordered_score: distances follow
  // the order of scores. One more than all scores if there is none.
  std::uint32_t least_score(int exponent, double offset) const {
    std::uint32_t low = ordered_score(negative_infinity()), high = ~low + 1;  // +infinity, and one
    while (low < high) {
      const std::uint32_t middle = low + (high - low) / 2;
      if (within_radius(reranker_.distance(score_of(middle), exponent, offset))) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return low;
  }

  std::vector<Task> split_into_tasks(QueryBatch& batch, std::size_t q, std::size_t number) const {
    std::vector<Task> tasks;
    for (const std::uint32_t list : pruner_.probed_lists(batch, q, number)) {
      each_selected(view_.store, filter_, list, PartRange{}, [&](std::uint32_t slot) {
        if (tasks.empty() || tasks.back().slots.size() == kTaskVectors) {
          tasks.push_back({q, {}, {}});
        }
        tasks.back().slots.push_back(slot);
      });
    }
    return tasks;
  }

  void score(const float* row, const QueryBatch& batch, Task& task) const {
    std::sort(task.slots.begin(), task.slots.end());
    Candidates candidates;
    for (const std::uint32_t slot : task.slots) candidates.emplace_back(0.0f, slot);
    if (view_.refine_rows != nullptr) {
      score_by_rows(row, candidates, task);
    } else {
      score_by_codes(row, batch, candidates, task);
    }
  }

  // Codes cannot rule out a vector: an outlier's error is larger than any estimate from others.
  void score_by_rows(const float* row, const Candidates& slots, Task& task) const {
    Candidates found = reranker_.with_labels(slots);
    reranker_.score_exactly(row, found);
    for (const Candidate& one : found) {
      const float distance = view_.scoring.euclidean() ? -one.score() : one.score();
      if (within_radius(distance)) task.found.push_back({one.position(), distance});
    }
  }

  void score_by_codes(const float* row, const QueryBatch& batch, Candidates& candidates,
                      Task& task) const {
    const float* tables = reranker_.tables(batch, task.query, 1);
    reranker_.score(batch, task.query, tables, candidates);
    const double offset = reranker_.score_offset(row);
    for (const Candidate& one : candidates) {
      const float distance = reranker_.distance(one.score(), batch[task.query].exponent, offset);
      if (!within_radius(distance)) continue;
      task.found.push_back({label_of(one.position()), distance});
    }
  }

  bool within_radius(float distance) const {
    return view_.scoring.euclidean() ? distance < radius_ : distance > radius_;
  }

  const IndexView& view_;
  const IdFilter& filter_;
  Rows queries_;
  float radius_;
  const SearchParams& params_;
  const CoarsePlan& plan_;
  BlockScanner scanner_;
  ListPruner pruner_;
  Reranker reranker_;
};

}  // namespace

// Calls use(RangeSearcher) while the index is locked.
template <class Use>
void Index::locked_range(const Rows& queries, float radius, const SearchParams& params,
                         Use use) const {
  check(queries, params);
  const std::shared_lock lock(locks_.state);
  const std::shared_ptr<const IdFilter> filter = this->filter(params.selector);
  const IndexView view = this->view();
  const std::shared_ptr<const CoarsePlan> plan = coarse_plan(0);
  use(RangeSearcher(view, *plan, *filter, queries, radius, params));
}

RangeResult Index::range_search(const Rows& queries, float radius,
                                const SearchParams& params) const {
  RangeResult result;
  locked_range(queries, radius, params,
               [&](const RangeSearcher& searcher) { result = searcher.run(); });
  return result;
}

ScanTables Index::range_tables(const Rows& queries, float radius,
                               const SearchParams& params) const {
  ScanTables tables;
  locked_range(queries, radius, params,
               [&](const RangeSearcher& searcher) { tables = searcher.tables(); });
  return tables;
}

RangeResult Index::merge_range(const Rows& queries, const std::vector<std::size_t>& limits,
                               const std::vector<std::uint32_t>& slots,
                               const std::vector<float>& scores) const {
  require(limits.size() == queries.n + 1 && limits.back() <= slots.size() &&
              slots.size() == scores.size() && std::is_sorted(limits.begin(), limits.end()),
          "limits must be those of the queries, with a slot and a score for each result");
  RangeResult result;
  locked_range(queries, 0, {.k = 1}, [&](const RangeSearcher& searcher) {
    for (const std::uint32_t slot : slots) {
      require(slot < store_.size(), "slots must be those of vectors");
    }
    result = searcher.merge(limits, slots, scores);
  });
  return result;
}

}  // namespace waterfill
