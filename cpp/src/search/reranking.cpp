#include "search/reranking.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "kernels.hpp"

namespace waterfill {
namespace {

// Better scores: at first those of one candidate in so many, then those of all that are not more
// than so many deviations of what the first ones showed too low.
constexpr std::size_t kFirstShare = 3, kFewestFirst = 32;
constexpr double kDeviations = 3;

void sort_by_slot(Candidates& some) {
  std::sort(some.begin(), some.end(),
            [](Candidate a, Candidate b) { return a.position() < b.position(); });
}

// Rows of somebody else's are as long as they are.
void divide_by_norms(const ExactRows& exact, const std::vector<std::int64_t>& rows,
                     std::vector<float>& scores) {
  std::vector<float> row(exact.d());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    exact.read(static_cast<std::size_t>(rows[i]), row.data());
    double squares = 0;
    for (const float value : row) squares += static_cast<double>(value) * value;
    if (squares > 0) scores[i] = static_cast<float>(scores[i] / std::sqrt(squares));
  }
}

}  // namespace

std::unique_ptr<float[]> Results::tables(const QueryBatch& batch, std::size_t first,
                                         std::size_t n) const {
  const std::size_t size = view_.codec.groups() * kCentroids;
  auto tables = std::make_unique_for_overwrite<float[]>(n * size);
  std::vector<Codec::Projected> queries;
  for (std::size_t q = first; q < first + n; ++q) {
    queries.push_back({batch[q].projected.data(), batch[q].w});
  }
  view_.codec.full_tables(queries, tables.get());
  return tables;
}

void Results::score(const QueryBatch& batch, std::size_t q, const float* tables,
                    Candidates& candidates) const {
  view_.scoring.full(view_.store, tables, batch.bases(q), batch[q].w, candidates);
}

void Results::settle(QueryBatch& batch, std::size_t q, const Candidates& candidates) const {
  std::size_t list = 0, next = 0;  // the first slot after the list that was settled last
  for (const Candidate& one : candidates) {
    if (one.position() < next) continue;
    list = view_.store.locate_from(list, one.position()).list;
    batch.settle(q, list);
    next = view_.store.start(list + 1);
  }
}

// How far better scores lie from coarse ones is seen on the best. Of the others those are dropped
// that would have to rise by more than the deviations allow to be among the wanted ones. Fewer
// candidates than were asked for are all that there are: whoever asks for all gets all scored.
template <class Score, class Unit>
void Results::score_hopeful(Candidates& candidates, std::size_t wanted, Score score,
                            Unit unit) const {
  const std::size_t size = candidates.size();
  const std::size_t first = std::max({size / kFirstShare, wanted + wanted / 2, kFewestFirst});
  const bool all = !hopeful_ || size < wanted_ || first >= size;
  Candidates rest;
  if (!all) {
    part_best(candidates.data(), size, first);
    rest.assign(candidates.begin() + static_cast<std::ptrdiff_t>(first), candidates.end());
    candidates.resize(first);
  }
  sort_by_slot(candidates);
  const Candidates coarse(candidates);
  score(candidates);
  if (all) return;
  double sum = 0, squares = 0;
  for (std::size_t i = 0; i < first; ++i) {
    const double rise = unit(candidates[i].score()) - coarse[i].score();
    sum += rise;
    squares += rise * rise;
  }
  const double mean = sum / static_cast<double>(first);
  const double variance = std::max(0.0, squares / static_cast<double>(first) - mean * mean);
  part_best(candidates.data(), first, wanted);
  const double least =
      unit(candidates[wanted - 1].score()) - mean - kDeviations * std::sqrt(variance);
  std::erase_if(rest, [&](Candidate one) { return one.score() < least; });
  sort_by_slot(rest);
  score(rest);
  candidates.insert(candidates.end(), rest.begin(), rest.end());
}

void Results::write(const Rows& rows, QueryBatch& batch, std::size_t first, std::size_t n,
                    Candidates* found, float* distances, std::int64_t* ids) const {
  // Where all candidates get exact scores there is no need of full ones.
  const auto with_full = [&](std::size_t q) { return exact_ == 0 || found[q].size() > exact_; };
  std::unique_ptr<float[]> tables;
  for (std::size_t q = first; q < first + n && tables == nullptr; ++q) {
    if (with_full(q)) tables = this->tables(batch, first, n);
  }
  const std::size_t size = view_.codec.groups() * kCentroids;
  for (std::size_t q = first; q < first + n; ++q) {
    const float* row = rows.row(q);
    const Query& query = batch[q];
    const double offset = score_offset(row);
    if (with_full(q)) {
      const float* own = tables.get() + (q - first) * size;
      const auto full = [&](Candidates& some) {
        settle(batch, q, some);
        score(batch, q, own, some);
      };
      score_hopeful(found[q], std::max(k_, exact_), full,
                    [](float score) { return double{score}; });
      found[q] = by_label(found[q], std::min(std::max(k_, exact_), found[q].size()));
      if (exact_ > 0) rescore(row, found[q]);
    } else {
      const auto exact = [&](Candidates& some) {
        some = labelled(some);
        rescore(row, some);
      };
      const auto unit = [&](float score) {
        const double own = view_.scoring.euclidean() ? offset + score : score - offset;
        return std::ldexp(own, -query.exponent);
      };
      score_hopeful(found[q], k_, exact, unit);
    }
    std::sort(found[q].begin(), found[q].end(), std::greater<>());
    write_one(found[q], query.exponent, offset, distances + q * k_, ids + q * k_);
  }
}

void Results::write_one(const Candidates& best, int exponent, double offset, float* distances,
                        std::int64_t* ids) const {
  const bool euclidean = view_.scoring.euclidean();
  const float largest = std::numeric_limits<float>::max();
  for (std::size_t i = 0; i < k_; ++i) {
    if (i >= best.size()) {
      ids[i] = -1;
      distances[i] = euclidean ? largest : -largest;
      continue;
    }
    const float score = best[i].score(), exact = euclidean ? -score : score;
    ids[i] = view_.ids[best[i].position()];
    distances[i] = exact_ > 0 ? exact : distance(score, exponent, offset);
  }
}

// With labels instead of slots, which ascend.
Candidates Results::labelled(const Candidates& some) const {
  Candidates result;
  std::size_t list = 0;
  for (const Candidate& one : some) {
    list = view_.store.locate_from(list, one.position()).list;
    result.emplace_back(one.score(),
                        view_.store.label(list, one.position() - view_.store.start(list)));
  }
  return result;
}

// The best n by label instead of slot, and those that score as the last of them.
Candidates Results::by_label(Candidates& all, std::size_t n) const {
  if (n == 0) return {};
  part_best(all.data(), all.size(), n);
  const float last = all[n - 1].score();
  std::erase_if(all, [&](Candidate one) { return one.score() < last; });
  sort_by_slot(all);
  Candidates best = labelled(all);
  keep_best(best, n);
  return best;
}

// By what the exact rows say of labels.
void Results::rescore(const float* row, Candidates& some) const {
  std::vector<std::int64_t> rows;
  for (const Candidate& one : some) rows.push_back(view_.row_of(one.position()));
  std::vector<float> scores(some.size());
  const bool euclidean = view_.scoring.euclidean();
  view_.exact->score(row, euclidean, rows.data(), rows.size(), scores.data());
  if (view_.cosine && view_.exact->borrowed()) divide_by_norms(*view_.exact, rows, scores);
  for (std::size_t i = 0; i < some.size(); ++i) {
    some[i] = Candidate(euclidean ? -scores[i] : scores[i], some[i].position());
  }
}

double Results::score_offset(const float* q) const {
  const std::vector<float>& mean = view_.codec.params().mean;
  double product = 0, squares = 0;
  for (std::size_t k = 0; k < mean.size(); ++k) {
    const double gap = static_cast<double>(q[k]) - mean[k];
    product += static_cast<double>(q[k]) * mean[k];
    squares += gap * gap;
  }
  if (view_.scoring.euclidean()) return squares;
  return view_.codec.params().pq_multiplier > 0 ? 0 : product;
}

float Results::distance(float scaled, int exponent, double offset) const {
  constexpr double kLargest = std::numeric_limits<float>::max();
  const double score = std::ldexp(static_cast<double>(scaled), exponent);
  const double value = view_.scoring.euclidean() ? std::max(0.0, offset - score) : offset + score;
  return static_cast<float>(std::clamp(value, -kLargest, kLargest));
}

}  // namespace waterfill
