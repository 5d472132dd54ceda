// Reranking of candidates: full scores from whole codes, exact scores from refine rows, and the
// conversion to distances.
#pragma once

#include <cstdint>

#include "index/index_view.hpp"
#include "search/query_batch.hpp"
#include "search/reservoir.hpp"
#include "waterfill/index/index.hpp"

namespace waterfill {

class Reranker {
 public:
  Reranker(const IndexView& view, const SearchParams& params)
      : view_(view),
        k_(params.k),
        refine_candidates_(params.refine_candidates),
        num_candidates_(params.coarse_candidates()),
        deviations_(params.nprobe > 0 ? 3 : 4) {}

  // Whether a search may compute full scores.
  bool with_full() const { return num_candidates_ > direct(); }
  // Writes the k best candidates of queries [first, first + n) of the batch, best first and ties by
  // label. Missing results have label -1 and the worst possible distance. rows, found, distances
  // and labels are those of the whole batch.
  void write(const Rows& rows, QueryBatch& batch, std::size_t first, std::size_t n,
             Candidates* found, float* distances, std::int64_t* labels) const;
  // Appends the candidates of all queries of a batch, which are in no order, with the scores that
  // `merge` may need.
  void score_all(const Rows& rows, QueryBatch& batch, std::vector<Candidates>& found,
                 ShareCandidates& out) const;
  // Writes the k best of the candidates of all shares for query q of the call, as `write`.
  // kept: candidates that the coarse stage keeps.
  // exponent: of `scale_exponent`.
  void merge(const float* row, int exponent, const ShareCandidates& all, std::size_t q,
             std::size_t kept, float* distances, std::int64_t* labels) const;
  // Full-score tables, query after query, until this thread asks for others.
  const float* tables(const QueryBatch& batch, std::size_t first, std::size_t n) const;
  // Replaces the scores of candidates by full scores. Candidates ascend by slot, and the list terms
  // of their lists are exact. tables: of the query, or null where there are few candidates.
  void score(const QueryBatch& batch, std::size_t q, const float* tables,
             Candidates& candidates) const;
  // Replaces slots by labels.
  Candidates with_labels(const Candidates& some) const;
  // Replaces the scores of labels by exact scores from the refine rows; negative for L2.
  void score_exactly(const float* row, Candidates& some) const;
  // The part of a distance that depends only on the query.
  double score_offset(const float* row) const;
  float distance(float scaled, int exponent, double offset) const;

 private:
  void compute_list_terms(QueryBatch& batch, std::size_t q, const Candidates& candidates) const;
  // Whether so many candidates of a query get full scores from tables.
  bool wants_tables(std::size_t candidates) const;
  // Up to this many candidates get no full scores: rows rank them.
  std::size_t direct() const;
  template <class Score, class Units>
  void score_promising(Candidates& candidates, std::size_t best, double deviations, bool by_slot,
                       Score score, Units units) const;
  template <class Full, class Labels, class Exact>
  void rank(const float* row, Candidates& found, int exponent, Full full, Labels with_labels,
            Exact exact) const;
  void write_results(const float* row, const Candidates& best, int exponent, float* distances,
                     std::int64_t* labels) const;
  template <class Labels>
  Candidates best_by_label(Candidates& all, std::size_t n, Labels with_labels) const;

  const IndexView& view_;
  std::size_t k_, refine_candidates_, num_candidates_;
  double deviations_;  // of full scores: a search of nprobe lists need not find everything
};

}  // namespace waterfill
