// Index::range_search: all vectors of the probed lists within a radius, by exact scores if there
// are refine rows, otherwise by full scores.
#include <algorithm>
#include <mutex>

#include "index/index_view.hpp"
#include "kernels.hpp"
#include "search/block_scan.hpp"
#include "search/coarse_tables.hpp"
#include "search/id_filter.hpp"
#include "search/list_pruning.hpp"
#include "search/query_batch.hpp"
#include "search/reranking.hpp"
#include "waterfill/core/row_validation.hpp"
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

  RangeResult run() {
    RangeResult result;
    result.limits.push_back(0);
    for (std::size_t first = 0; first < queries_.n; first += kQueryBatch) {
      run_batch(first, std::min(kQueryBatch, queries_.n - first), result);
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

  void run_batch(std::size_t begin, std::size_t n, RangeResult& result) const {
    const std::vector<float> copy = finite_copy({queries_.row(begin), n, queries_.d}, "x", begin);
    const Rows rows{copy.data(), n, queries_.d};
    const std::int64_t* probes =
        params_.probes != nullptr ? params_.probes + begin * params_.nprobe : nullptr;
    QueryBatch batch(view_.codec, view_.scoring, plan_, view_.centroids, rows,
                     {probes, params_.nprobe});
    for (std::size_t q = 0; q < n; ++q) {
      std::vector<Task> tasks = split_into_tasks(batch, q, begin + q);
      parallel_for(tasks.size(), [&](std::size_t i) { score(rows.row(q), batch, tasks[i]); });
      std::vector<Found> all;
      for (const Task& task : tasks) all.insert(all.end(), task.found.begin(), task.found.end());
      std::sort(all.begin(), all.end(),
                [](const Found& a, const Found& b) { return a.label < b.label; });
      for (const Found& one : all) {
        result.ids.push_back(view_.ids[one.label]);
        result.distances.push_back(one.distance);
      }
      result.limits.push_back(result.ids.size());
    }
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
      const std::size_t list = view_.store.list_of(one.position());
      const std::size_t i = one.position() - view_.store.start(list);
      task.found.push_back({view_.store.label(list, i), distance});
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

RangeResult Index::range_search(const Rows& queries, float radius,
                                const SearchParams& params) const {
  check(queries, params);
  const std::shared_lock lock(locks_.state);
  const std::shared_ptr<const IdFilter> filter = this->filter(params.selector);
  const IndexView view = this->view();
  const std::shared_ptr<const CoarsePlan> plan = coarse_plan(0);
  return RangeSearcher(view, *plan, *filter, queries, radius, params).run();
}

}  // namespace waterfill
