// From candidates to what a search gives back: full scores, exact ones where rows are kept, the
// metric's distances, and ids.
#pragma once

#include <cstdint>
#include <memory>

#include "search/query_batch.hpp"
#include "search/reservoir.hpp"
#include "search/scoring.hpp"
#include "waterfill/index/code_store.hpp"
#include "waterfill/index/ids.hpp"
#include "waterfill/index/index.hpp"
#include "waterfill/index/refine_rows.hpp"

namespace waterfill {

// What a search reads of an index, under its lock.
struct IndexView {
  const Codec& codec;
  const CodeStore& store;
  const Scoring& scoring;
  const float* centroids;  // from the mean
  const Ids& ids;
  const ExactRows* exact;  // or null
  bool cosine;             // whether vectors count by their direction alone

  // Rows of its own stand as vectors came, borrowed ones by id.
  std::int64_t row_of(std::size_t label) const {
    return exact->borrowed() ? ids[label] : static_cast<std::int64_t>(label);
  }
};

class Results {
 public:
  Results(const IndexView& view, const SearchParams& params)
      : view_(view),
        k_(params.k),
        exact_(params.exact),
        wanted_(params.wanted()),
        hopeful_(params.nprobe > 0) {}

  // Writes the k best candidates of queries [first, first + n) of the batch, best first and equal
  // ones by label; missing ones as -1 with the worst possible distance. rows, found, distances and
  // ids: of the whole batch.
  void write(const Rows& rows, QueryBatch& batch, std::size_t first, std::size_t n,
             Candidates* found, float* distances, std::int64_t* ids) const;
  // Tables of full scores, one query's after the other's.
  std::unique_ptr<float[]> tables(const QueryBatch& batch, std::size_t first, std::size_t n) const;
  // Replaces the scores of candidates by full ones. They ascend by slot, and their lists are
  // settled.
  void score(const QueryBatch& batch, std::size_t q, const float* tables,
             Candidates& candidates) const;
  // The part of a distance that depends on the query alone.
  double score_offset(const float* row) const;
  float distance(float scaled, int exponent, double offset) const;

 private:
  // The lists of candidates, which ascend by slot.
  void settle(QueryBatch& batch, std::size_t q, const Candidates& candidates) const;
  template <class Score, class Unit>
  void score_hopeful(Candidates& candidates, std::size_t wanted, Score score, Unit unit) const;
  void write_one(const Candidates& best, int exponent, double offset, float* distances,
                 std::int64_t* ids) const;
  Candidates labelled(const Candidates& some) const;
  Candidates by_label(Candidates& all, std::size_t n) const;
  void rescore(const float* row, Candidates& some) const;

  const IndexView& view_;
  std::size_t k_, exact_, wanted_;
  bool hopeful_;  // whether to leave out candidates by a guess, as a search leaves out lists
};

}  // namespace waterfill
