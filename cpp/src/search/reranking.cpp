#include "search/reranking.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels.hpp"
#include "waterfill/core/thread_pool.hpp"

namespace waterfill {
namespace {

// A better score is computed for one candidate in kFirstShare first, then for the candidates that
// may still be among the best: those within some deviations of the difference on the first ones.
constexpr std::size_t kFirstShare = 4, kFewestFirst = 32;
// Up to so many candidates get full scores without tables.
constexpr std::size_t kFewCodes = 512;
// So few candidates get exact scores and none a full score, whatever k_factor is.
constexpr std::size_t kFewRows = 64;
// Deviations that a candidate may rise from its coarse to its exact score.
constexpr double kExactDeviations = 4;

void sort_by_slot(Candidates& some) {
  std::sort(some.begin(), some.end(),
            [](Candidate a, Candidate b) { return a.position() < b.position(); });
}

// Borrowed rows are not normalized.
void divide_by_norms(const RefineRows& refine_rows, const std::vector<std::int64_t>& rows,
                     std::vector<float>& scores) {
  std::vector<float> row(refine_rows.d());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    refine_rows.read(static_cast<std::size_t>(rows[i]), row.data());
    double squares = 0;
    for (const float value : row) squares += static_cast<double>(value) * value;
    if (squares > 0) scores[i] = static_cast<float>(scores[i] / std::sqrt(squares));
  }
}

}  // namespace

const float* Reranker::tables(const QueryBatch& batch, std::size_t first, std::size_t n) const {
  // Kept for the next call: memory of this size would come fresh from the system each time.
  static thread_local std::vector<float> tables;
  const std::size_t size = n * view_.codec.groups() * kCentroids;
  if (tables.size() < size) tables.resize(size);
  std::vector<Codec::Projected> queries;
  for (std::size_t q = first; q < first + n; ++q) {
    queries.push_back({batch[q].projected, batch[q].w});
  }
  view_.codec.full_tables(queries, tables.data());
  return tables.data();
}

void Reranker::score(const QueryBatch& batch, std::size_t q, const float* tables,
                     Candidates& candidates) const {
  const Query& query = batch[q];
  view_.scoring.full(view_.store, {query.projected, tables, batch.list_terms(q), query.w},
                     candidates);
}

void Reranker::compute_list_terms(QueryBatch& batch, std::size_t q,
                                  const Candidates& candidates) const {
  std::size_t next = 0;  // the first slot behind the last list
  for (const Candidate& one : candidates) {
    if (one.position() < next) continue;
    const std::size_t list = view_.store.list_of(one.position());
    batch.compute_list_term(q, list);
    next = view_.store.start(list + 1);
  }
}

// Computes better scores for the candidates that may be among the `best` ones.
//
// by_slot: whether `score` wants them in this order. units(): returns the function that converts
// a better score to the unit of coarse ones.
//
// The difference between better and coarse scores is estimated on the best coarse ones. A candidate
// is dropped if it would have to gain more than the difference plus some deviations. If there
// are fewer candidates than requested, these are all vectors, and all of them are scored.
template <class Score, class Units>
void Reranker::score_promising(Candidates& candidates, std::size_t best, double deviations,
                               bool by_slot, Score score, Units units) const {
  const std::size_t size = candidates.size();
  const std::size_t first = std::max({size / kFirstShare, best + best / 2, kFewestFirst});
  const bool all = size < num_candidates_ || 2 * first >= size;
  Candidates rest;
  if (!all) {
    part_best(candidates.data(), size, first);
    rest.assign(candidates.begin() + static_cast<std::ptrdiff_t>(first), candidates.end());
    candidates.resize(first);
  }
  if (by_slot) sort_by_slot(candidates);
  if (all) return score(candidates);
  const Candidates coarse(candidates);
  score(candidates);
  const auto unit = units();
  double sum = 0, squares = 0;
  for (std::size_t i = 0; i < first; ++i) {
    const double rise = unit(candidates[i].score()) - coarse[i].score();
    sum += rise;
    squares += rise * rise;
  }
  const double mean = sum / static_cast<double>(first);
  const double variance = std::max(0.0, squares / static_cast<double>(first) - mean * mean);
  part_best(candidates.data(), first, best);
  const double least = unit(candidates[best - 1].score()) - mean - deviations * std::sqrt(variance);
  std::erase_if(rest, [&](Candidate one) { return one.score() < least; });
  if (by_slot) sort_by_slot(rest);
  score(rest);
  candidates.insert(candidates.end(), rest.begin(), rest.end());
}

// Replaces slots by labels and keeps the best n. Ties with the last one are resolved by label.
template <class Labels>
Candidates Reranker::best_by_label(Candidates& all, std::size_t n, Labels with_labels) const {
  if (n == 0) return {};
  part_best(all.data(), all.size(), n);
  const float last = all[n - 1].score();
  std::erase_if(all, [&](Candidate one) { return one.score() < last; });
  sort_by_slot(all);
  Candidates best = with_labels(all);
  keep_best(best, n);
  return best;
}

// Full scores are not needed where rows rank the candidates of the coarse stage. The caller's own
// rows may be on a disk, where each costs more than a full score.
std::size_t Reranker::direct() const {
  if (refine_candidates_ == 0) return 0;
  return view_.refine_rows->borrowed() ? refine_candidates_
                                       : std::max(kManyRows * refine_candidates_, kFewRows);
}

// The published score is no product of centroids, and has tables only.
bool Reranker::wants_tables(std::size_t candidates) const {
  return candidates > direct() &&
         (candidates > kFewCodes || view_.codec.params().pq_multiplier > 0);
}

// Replaces candidates by the k best, with labels, best first.
//
// full(some): replaces scores of slots by full scores. with_labels(some): returns them with labels
// in place of slots. exact(some): replaces scores of labels by exact scores.
template <class Full, class Labels, class Exact>
void Reranker::rank(const float* row, Candidates& found, int exponent, Full full,
                    Labels with_labels, Exact exact) const {
  if (found.size() > direct()) {
    const std::size_t best = std::max(k_, refine_candidates_);
    const auto same = [] { return [](float score) { return double{score}; }; };
    score_promising(found, best, deviations_, true, full, same);
    found = best_by_label(found, std::min(best, found.size()), with_labels);
    if (refine_candidates_ > 0) exact(found);
  } else if (!found.empty()) {
    const auto label_and_score = [&](Candidates& some) {
      some = with_labels(some);
      exact(some);
    };
    const auto units = [&] {
      return [scale = std::ldexp(1.0, -exponent), offset = score_offset(row),
              euclidean = view_.scoring.euclidean()](float score) {
        return (euclidean ? offset + score : score - offset) * scale;
      };
    };
    score_promising(found, k_, kExactDeviations, false, label_and_score, units);
  }
  keep_best(found, std::min(k_, found.size()));
  std::sort(found.begin(), found.end(), std::greater<>());
}

void Reranker::write(const Rows& rows, QueryBatch& batch, std::size_t first, std::size_t n,
                     Candidates* found, float* distances, std::int64_t* labels) const {
  const float* tables = nullptr;
  for (std::size_t q = first; q < first + n && tables == nullptr; ++q) {
    if (wants_tables(found[q].size())) tables = this->tables(batch, first, n);
  }
  const std::size_t size = view_.codec.groups() * kCentroids;
  for (std::size_t q = first; q < first + n; ++q) {
    const float* row = rows.row(q);
    const auto full = [&](Candidates& some) {
      compute_list_terms(batch, q, some);
      score(batch, q, tables == nullptr ? nullptr : tables + (q - first) * size, some);
    };
    rank(
        row, found[q], batch[q].exponent, full,
        [&](const Candidates& some) { return with_labels(some); },
        [&](Candidates& some) { score_exactly(row, some); });
    write_results(row, found[q], batch[q].exponent, distances + q * k_, labels + q * k_);
  }
}

void Reranker::score_all(const Rows& rows, QueryBatch& batch, std::vector<Candidates>& found,
                         ShareCandidates& out) const {
  // What other shares find is not known, so any of the candidates may get any of the scores.
  const bool with_full = this->with_full(), with_exact = refine_candidates_ > 0;
  for (Candidates& own : found) {
    sort_by_slot(own);
    out.limits.push_back(out.limits.back() + own.size());
    for (const Candidate& one : own) {
      out.coarse.push_back(one.score());
      out.slots.push_back(one.position());
    }
  }
  const std::size_t size = out.slots.size(), first_query = out.limits.size() - 1 - found.size();
  out.labels.resize(size);
  if (with_full) out.full.resize(size);
  if (with_exact) out.exact.resize(size);
  parallel_for(found.size(), [&](std::size_t q) {
    const std::size_t at = out.limits[first_query + q];
    Candidates labelled = with_labels(found[q]);
    for (std::size_t i = 0; i < labelled.size(); ++i) out.labels[at + i] = labelled[i].position();
    if (with_full && !found[q].empty()) {
      compute_list_terms(batch, q, found[q]);
      score(batch, q, wants_tables(found[q].size()) ? tables(batch, q, 1) : nullptr, found[q]);
      for (std::size_t i = 0; i < labelled.size(); ++i) out.full[at + i] = found[q][i].score();
    }
    if (with_exact) {
      score_exactly(rows.row(q), labelled);
      for (std::size_t i = 0; i < labelled.size(); ++i) out.exact[at + i] = labelled[i].score();
    }
  });
}

void Reranker::merge(const float* row, int exponent, const ShareCandidates& all, std::size_t q,
                     std::size_t kept, float* distances, std::int64_t* labels) const {
  struct Place {
    std::uint32_t number;  // slot or label
    std::size_t at;
    bool operator<(const Place& other) const { return number < other.number; }
  };
  Candidates found;
  std::vector<Place> by_slot, by_label;
  for (std::size_t at = all.limits[q]; at < all.limits[q + 1]; ++at) {
    found.emplace_back(all.coarse[at], all.slots[at]);
    by_slot.push_back({all.slots[at], at});
    if (all.has_labels()) by_label.push_back({all.labels[at], at});
  }
  std::sort(by_slot.begin(), by_slot.end());
  std::sort(by_label.begin(), by_label.end());
  const auto place = [](const std::vector<Place>& places, Candidate one) {
    return std::lower_bound(places.begin(), places.end(), Place{one.position(), 0})->at;
  };
  const auto full = [&](Candidates& some) {
    for (Candidate& one : some) one = Candidate(all.full[place(by_slot, one)], one.position());
  };
  const auto with_labels = [&](const Candidates& some) {
    if (!all.has_labels()) return this->with_labels(some);
    Candidates result;
    for (const Candidate& one : some) {
      result.emplace_back(one.score(), all.labels[place(by_slot, one)]);
    }
    return result;
  };
  const auto exact = [&](Candidates& some) {
    if (!all.has_labels()) return score_exactly(row, some);
    for (Candidate& one : some) one = Candidate(all.exact[place(by_label, one)], one.position());
  };
  keep_best(found, kept);
  rank(row, found, exponent, full, with_labels, exact);
  write_results(row, found, exponent, distances, labels);
}

void Reranker::write_results(const float* row, const Candidates& best, int exponent,
                             float* distances, std::int64_t* labels) const {
  const bool euclidean = view_.scoring.euclidean();
  const double offset = refine_candidates_ > 0 ? 0 : score_offset(row);
  const float largest = std::numeric_limits<float>::max();
  for (std::size_t i = 0; i < k_; ++i) {
    if (i >= best.size()) {
      labels[i] = -1;
      distances[i] = euclidean ? largest : -largest;
      continue;
    }
    const float score = best[i].score(), exact = euclidean ? -score : score;
    labels[i] = best[i].position();
    distances[i] = refine_candidates_ > 0 ? exact : distance(score, exponent, offset);
  }
}

Candidates Reranker::with_labels(const Candidates& some) const {
  struct Place {
    std::uint32_t list, at;
  };
  std::vector<Place> places;
  places.reserve(some.size());
  for (const Candidate& one : some) {
    const std::size_t list = view_.store.list_of(one.position());
    const std::size_t at = one.position() - view_.store.start(list);
    view_.store.prefetch_label(list, at);
    places.push_back({static_cast<std::uint32_t>(list), static_cast<std::uint32_t>(at)});
  }
  Candidates result;
  result.reserve(some.size());
  for (std::size_t i = 0; i < some.size(); ++i) {
    result.emplace_back(some[i].score(), view_.store.label(places[i].list, places[i].at));
  }
  return result;
}

void Reranker::score_exactly(const float* row, Candidates& some) const {
  std::vector<std::int64_t> rows;
  for (const Candidate& one : some) rows.push_back(view_.refine_row(one.position()));
  std::vector<float> scores(some.size());
  const bool euclidean = view_.scoring.euclidean();
  view_.refine_rows->score(row, euclidean, rows.data(), rows.size(), scores.data());
  if (view_.cosine && view_.refine_rows->borrowed())
    divide_by_norms(*view_.refine_rows, rows, scores);
  for (std::size_t i = 0; i < some.size(); ++i) {
    some[i] = Candidate(euclidean ? -scores[i] : scores[i], some[i].position());
  }
}

double Reranker::score_offset(const float* row) const {
  const bool euclidean = view_.scoring.euclidean();
  if (!euclidean && view_.codec.params().pq_multiplier > 0) return 0;
  const std::vector<float>& mean = view_.codec.params().mean;
  std::array<double, 8> sums{};  // independent sums
  for (std::size_t first = 0; first < mean.size(); first += sums.size()) {
    const std::size_t n = std::min(sums.size(), mean.size() - first);
    for (std::size_t i = 0; i < n; ++i) {
      const double value = row[first + i], gap = value - mean[first + i];
      sums[i] += euclidean ? gap * gap : value * mean[first + i];
    }
  }
  return std::accumulate(sums.begin(), sums.end(), 0.0);
}

float Reranker::distance(float scaled, int exponent, double offset) const {
  constexpr double kLargest = std::numeric_limits<float>::max();
  const double score = std::ldexp(static_cast<double>(scaled), exponent);
  const bool euclidean = view_.scoring.euclidean();
  const double value = euclidean ? std::max(0.0, offset - score) : offset + score;
  if (std::isnan(score)) return static_cast<float>(euclidean ? kLargest : -kLargest);
  return static_cast<float>(std::clamp(value, -kLargest, kLargest));
}

}  // namespace waterfill
