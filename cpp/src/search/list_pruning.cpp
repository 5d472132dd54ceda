#include "search/list_pruning.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>

#include "search/list_ranking.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kMinInitialLists = 4;           // scanned before any list is skipped
constexpr std::size_t kMaxFilteredInitialLists = 12;  // with a filter, which leaves few per list
constexpr std::size_t kInitialCandidates = 2;  // initial vectors as a multiple of the candidates

// Removes the best list from a heap and returns its number.
std::size_t take_best(Candidates& heap) {
  std::pop_heap(heap.begin(), heap.end(), std::not_fn(std::greater<>()));
  const std::size_t list = heap.back().position();
  heap.pop_back();
  return list;
}

}  // namespace

// A heap of the lists that may be scanned.
Candidates ListPruner::rank_lists(const QueryBatch& batch, std::size_t q,
                                  std::size_t number) const {
  if (params_.probes != nullptr) return rank_given_lists(batch, q, number);
  const std::size_t most =
      limited() && filter_.everything() ? params_.nprobe : store_.lists().size();
  Candidates order = nearest_lists(store_, scoring_, batch[q], most);
  std::make_heap(order.begin(), order.end(), std::not_fn(std::greater<>()));
  return order;
}

// The same for the lists that the caller names.
Candidates ListPruner::rank_given_lists(const QueryBatch& batch, std::size_t q,
                                        std::size_t number) const {
  Candidates order;
  const Query& query = batch[q];
  const std::int64_t* own = params_.probes + number * params_.nprobe;
  for (std::size_t i = 0; i < params_.nprobe; ++i) {
    if (own[i] < 0 || std::find(own, own + i, own[i]) != own + i) continue;
    const auto l = static_cast<std::size_t>(own[i]);
    if (store_.count(l) == 0) continue;
    const float term = batch.list_terms(q)[l];
    const float score =
        scoring_.by_direction() ? scoring_.direction_product(l, term, query.mean_product, query.w)
        : scoring_.euclidean()  ? term
                                : scoring_.best_of_list(l, term, query.deviation, query.w);
    order.emplace_back(score, static_cast<std::uint32_t>(l));
  }
  std::make_heap(order.begin(), order.end(), std::not_fn(std::greater<>()));
  return order;
}

std::vector<std::uint32_t> ListPruner::probed_lists(QueryBatch& batch, std::size_t q,
                                                    std::size_t number) const {
  if (store_.lists().size() == 1) {
    batch.compute_list_term(q, 0);
    return {0};
  }
  Candidates order = rank_lists(batch, q, number);
  std::size_t left = limited() ? params_.nprobe : order.size();
  std::vector<std::uint32_t> lists;
  while (!order.empty() && left > 0) {
    const std::size_t list = take_best(order);
    if (filter_.count(list) == 0) continue;
    batch.compute_list_term(q, list);
    lists.push_back(static_cast<std::uint32_t>(list));
    --left;
  }
  std::sort(lists.begin(), lists.end());
  return lists;
}

// The least number of selected vectors that a filtered search scans, if there are as many. Found by
// experiment to give the recall of nprobe lists without a filter.
std::size_t ListPruner::min_filtered_vectors() const {
  constexpr double kTenth = 10;
  const double lists = static_cast<double>(store_.lists().size());
  const double scanned =
      static_cast<double>(store_.live()) * static_cast<double>(params_.nprobe) / lists;
  return static_cast<std::size_t>(static_cast<double>(params_.k) * std::sqrt(scanned / kTenth));
}

// The lists that a query may scan, the best first. With a filter, lists without a selected vector
// do not count towards nprobe. If few vectors are selected, more than nprobe lists are scanned: the
// neighbors among few vectors are farther away.
struct ListPruner::Order {
  Candidates heap;
  std::size_t left;         // of nprobe
  std::size_t min_vectors;  // that are scanned, even if no list is left
  std::size_t count = 0, vectors = 0;

  // The next list, or none after the last.
  std::optional<std::size_t> next(const IdFilter& filter) {
    while (!heap.empty() && (left > 0 || vectors < min_vectors)) {
      const std::size_t list = take_best(heap), selected = filter.count(list);
      if (selected == 0) continue;
      vectors += selected;
      ++count;
      left -= left > 0 ? 1 : 0;
      return list;
    }
    return std::nullopt;
  }
};

ListPruner::Order ListPruner::order(const QueryBatch& batch, std::size_t q,
                                    std::size_t number) const {
  Candidates heap = rank_lists(batch, q, number);
  const std::size_t left = limited() ? params_.nprobe : heap.size();
  return {std::move(heap), left, filter_.everything() ? 0 : min_filtered_vectors()};
}

// Takes the nearest lists, which are scanned before any is skipped. visit: gets a list, and the
// next one, if there is another.
template <class Visit>
void ListPruner::take_nearest(QueryBatch& batch, std::size_t q, Order& order, Visit visit) const {
  const std::size_t initial_vectors = kInitialCandidates * num_candidates_;
  const std::size_t max_lists = filter_.everything() ? order.heap.size() : kMaxFilteredInitialLists;
  const auto next = [&] {
    const std::optional<std::size_t> list = order.next(filter_);
    if (list) batch.estimate_list_term(q, *list);
    return list;
  };
  const auto wants_more = [&] {
    return order.count < kMinInitialLists ||
           (order.vectors < initial_vectors && order.count < max_lists);
  };
  for (std::optional<std::size_t> list = next(), following; list; list = following) {
    following = wants_more() ? next() : std::nullopt;
    visit(*list, following);
  }
}

// Calls visit(list, bound) for the other lists: no score of their vectors is likely to exceed the
// bound. nearest: will be sorted.
template <class Visit>
void ListPruner::take_others(QueryBatch& batch, std::size_t q, Order& order,
                             std::vector<std::uint32_t>& nearest, Visit visit) const {
  const float t = params_.prune_sigma * batch[q].deviation;
  const auto take = [&](std::size_t list) {
    batch.estimate_list_term(q, list);
    visit(list, scoring_.best_of_list(list, batch.list_terms(q)[list], t, batch[q].w));
  };
  if (params_.nprobe == 0 && filter_.everything()) {  // all of them, in their order
    std::sort(nearest.begin(), nearest.end());
    auto skipped = nearest.begin();
    for (std::size_t l = 0; l < store_.lists().size(); ++l) {
      if (skipped != nearest.end() && *skipped == l) {
        ++skipped;
      } else {
        take(l);
      }
    }
  } else if (limited() && !filter_.everything()) {
    while (const auto list = order.next(filter_)) take(*list);
  } else {
    for (const Candidate& list : order.heap) take(list.position());
  }
}

Probe ListPruner::initial_probe(QueryBatch& batch, std::size_t q, std::size_t number,
                                const float* known) const {
  Probe probe(num_candidates_);
  if (known != nullptr) probe.state = ScanState(num_candidates_, *known);
  if (store_.lists().size() == 1) {
    batch.estimate_list_term(q, 0);
    probe.lists = {0};
    return probe;
  }
  Order order = this->order(batch, q, number);
  std::vector<std::uint32_t> nearest;
  take_nearest(batch, q, order, [&](std::size_t list, std::optional<std::size_t> following) {
    nearest.push_back(static_cast<std::uint32_t>(list));
    if (known != nullptr) return;
    if (following) scanner_.prefetch(*following);
    scanner_.scan_list(batch, q, list, probe.state);
  });
  probe.state.best.raise_threshold();
  const float threshold = probe.state.best.threshold();
  take_others(batch, q, order, nearest, [&](std::size_t list, float bound) {
    if (bound > threshold) probe.lists.push_back(static_cast<std::uint32_t>(list));
  });
  std::sort(probe.lists.begin(), probe.lists.end());
  return probe;
}

RankedLists ListPruner::ranked_lists(QueryBatch& batch, std::size_t q, std::size_t number) const {
  RankedLists ranked;
  if (store_.lists().size() == 1) {
    batch.estimate_list_term(q, 0);
    ranked.nearest = {0};
    return ranked;
  }
  Order order = this->order(batch, q, number);
  take_nearest(batch, q, order, [&](std::size_t list, std::optional<std::size_t>) {
    ranked.nearest.push_back(static_cast<std::uint32_t>(list));
  });
  take_others(batch, q, order, ranked.nearest, [&](std::size_t list, float bound) {
    ranked.others.push_back(static_cast<std::uint32_t>(list));
    ranked.bounds.push_back(bound);
  });
  return ranked;
}

}  // namespace waterfill
