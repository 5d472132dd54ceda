#include "search/list_pruning.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>

namespace waterfill {
namespace {

constexpr std::size_t kFewestOpened = 4;      // lists that a search opens with
constexpr std::size_t kMostOpened = 12;       // with a filter, whose members a list has few of
constexpr std::size_t kOpenedCandidates = 2;  // times the candidates wanted are in them, or more

// The best of a heap of lists, taken from it.
std::size_t take_best(Candidates& heap) {
  std::pop_heap(heap.begin(), heap.end(), std::not_fn(std::greater<>()));
  const std::size_t list = heap.back().position();
  heap.pop_back();
  return list;
}

}  // namespace

Wishes::Wishes(const std::vector<Opening>& openings, std::size_t begin, std::size_t end,
               std::size_t lists)
    : starts_(lists + 1, 0) {
  for (std::size_t q = begin; q < end; ++q) {
    for (const std::uint32_t list : openings[q].lists) ++starts_[list + 1];
  }
  for (std::size_t l = 0; l < lists; ++l) starts_[l + 1] += starts_[l];
  queries_.resize(starts_[lists]);
  std::vector<std::uint32_t> next(starts_.begin(), starts_.end() - 1);
  for (std::size_t q = begin; q < end; ++q) {
    for (const std::uint32_t list : openings[q].lists) queries_[next[list]++] = q;
  }
}

// A heap of the lists that may be looked at, by what their vectors may score.
Candidates Prober::ranked(const QueryBatch& batch, std::size_t q, std::size_t number) const {
  const float* bases = batch.bases(q);
  const Query& query = batch[q];
  const std::vector<List>& lists = store_.lists();
  Candidates order;
  if (params_.probes != nullptr) {
    const std::int64_t* own = params_.probes + number * params_.nprobe;
    for (std::size_t i = 0; i < params_.nprobe; ++i) {
      if (own[i] < 0 || std::find(own, own + i, own[i]) != own + i) continue;
      const auto l = static_cast<std::size_t>(own[i]);
      if (lists[l].size == 0) continue;
      order.emplace_back(scoring_.best_of_list(l, bases[l], query.deviation, query.w),
                         static_cast<std::uint32_t>(l));
    }
  } else {
    std::vector<float> best(lists.size());
    scoring_.best_of_lists(bases, query.deviation, query.w, best.data());
    order.reserve(lists.size());
    for (std::size_t l = 0; l < lists.size(); ++l) {
      if (lists[l].size > 0) order.emplace_back(best[l], static_cast<std::uint32_t>(l));
    }
    if (limited() && filter_.everything()) keep_best(order, params_.nprobe);
  }
  std::make_heap(order.begin(), order.end(), std::not_fn(std::greater<>()));
  return order;
}

std::vector<std::uint32_t> Prober::lists(QueryBatch& batch, std::size_t q,
                                         std::size_t number) const {
  if (store_.lists().size() == 1) {
    batch.settle(q, 0);
    return {0};
  }
  Candidates order = ranked(batch, q, number);
  std::size_t left = limited() ? params_.nprobe : order.size();
  std::vector<std::uint32_t> lists;
  while (!order.empty() && left > 0) {
    const std::size_t list = take_best(order);
    if (filter_.count(list) == 0) continue;
    batch.settle(q, list);
    lists.push_back(static_cast<std::uint32_t>(list));
    --left;
  }
  std::sort(lists.begin(), lists.end());
  return lists;
}

// Vectors that a filter leaves of which a search sees as many at least, if there are: found by
// trial to be enough for the recall that nprobe lists give without a filter.
std::size_t Prober::enough_of_few() const {
  constexpr double kTenth = 10;
  const double lists = static_cast<double>(store_.lists().size());
  const double seen =
      static_cast<double>(store_.size()) * static_cast<double>(params_.nprobe) / lists;
  return static_cast<std::size_t>(static_cast<double>(params_.k) * std::sqrt(seen / kTenth));
}

Opening Prober::open(QueryBatch& batch, std::size_t q, std::size_t number) const {
  Opening opening;
  if (store_.lists().size() == 1) {
    opening.lists = {0};
    return opening;
  }
  Candidates order = ranked(batch, q, number);
  std::size_t left = limited() ? params_.nprobe : order.size();
  // Lists in which a filter leaves nothing are not counted, and where it leaves little a search
  // looks further than nprobe: neighbours among few vectors are farther away.
  const bool filtered = !filter_.everything();
  const std::size_t enough = filtered ? enough_of_few() : 0;
  const std::size_t to_open = kOpenedCandidates * wanted_;
  const std::size_t most = filtered ? kMostOpened : order.size();
  std::size_t count = 0, vectors = 0;
  // The next list, or none if that was all.
  const auto next = [&]() -> std::optional<std::size_t> {
    while (!order.empty() && (left > 0 || vectors < enough)) {
      const std::size_t list = take_best(order), own = filter_.count(list);
      if (own == 0) continue;
      vectors += own;
      ++count;
      left -= left > 0 ? 1 : 0;
      return list;
    }
    return std::nullopt;
  };
  Selection selection(wanted_, opening.threshold);
  while (count < kFewestOpened || (vectors < to_open && count < most)) {
    const auto list = next();
    if (!list) break;
    scanner_.scan_list(batch, q, *list, selection);
  }
  selection.best.settle();
  opening.threshold = selection.best.threshold();
  opening.found = selection.best.take();
  const float t = params_.reach * batch[q].deviation;
  const auto want = [&](std::size_t list) {
    const float best = scoring_.best_of_list(list, batch.bases(q)[list], t, batch[q].w);
    if (best > opening.threshold) opening.lists.push_back(static_cast<std::uint32_t>(list));
  };
  if (limited() && filtered) {
    while (const auto list = next()) want(*list);
  } else {  // all that are left, in any order
    for (const Candidate& one : order) want(one.position());
  }
  std::sort(opening.lists.begin(), opening.lists.end());
  return opening;
}

}  // namespace waterfill
