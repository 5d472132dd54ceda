// Selection of the lists that a query scans: which lists are probed, and which are skipped.
//
// A query first scans the lists nearest to it. Their results give a threshold, and the lists
// whose vectors cannot exceed it are skipped.
#pragma once

#include <cstdint>
#include <vector>

#include "search/block_scan.hpp"
#include "waterfill/index/index.hpp"

namespace waterfill {

// A query's scan of its nearest lists, which goes on with the others.
struct Probe {
  explicit Probe(std::size_t num_candidates = 0) : state(num_candidates) {}
  ScanState state;
  std::vector<std::uint32_t> lists;  // that remain to be scanned, ascending
};

// The same choice without a scan: the lists that a query scans first, and the others, each of which
// it scans if the threshold that is found then is below the bound.
struct RankedLists {
  std::vector<std::uint32_t> nearest, others;
  std::vector<float> bounds;  // of the others
};

class ListPruner {
 public:
  // num_candidates: candidates that the coarse stage keeps.
  ListPruner(const CodeStore& store, const Scoring& scoring, const BlockScanner& scanner,
             const IdFilter& filter, const SearchParams& params, std::size_t num_candidates)
      : store_(store),
        scoring_(scoring),
        scanner_(scanner),
        filter_(filter),
        params_(params),
        num_candidates_(num_candidates) {}

  // Scans the nearest lists of query q of the batch, which has the number `number` in the call.
  // Each query is probed alone, so the result depends neither on threads nor on other queries.
  // known: the threshold that such a scan has found, which is then not done again; or null.
  Probe initial_probe(QueryBatch& batch, std::size_t q, std::size_t number,
                      const float* known = nullptr) const;
  RankedLists ranked_lists(QueryBatch& batch, std::size_t q, std::size_t number) const;
  // The lists that a query scans, without pruning and without scanning any.
  std::vector<std::uint32_t> probed_lists(QueryBatch& batch, std::size_t q,
                                          std::size_t number) const;

 private:
  struct Order;

  Order order(const QueryBatch& batch, std::size_t q, std::size_t number) const;
  template <class Visit>
  void take_nearest(QueryBatch& batch, std::size_t q, Order& order, Visit visit) const;
  template <class Visit>
  void take_others(QueryBatch& batch, std::size_t q, Order& order,
                   std::vector<std::uint32_t>& nearest, Visit visit) const;
  Candidates rank_lists(const QueryBatch& batch, std::size_t q, std::size_t number) const;
  Candidates rank_given_lists(const QueryBatch& batch, std::size_t q, std::size_t number) const;
  std::size_t min_filtered_vectors() const;
  bool limited() const { return params_.nprobe > 0 && params_.probes == nullptr; }

  const CodeStore& store_;
  const Scoring& scoring_;
  const BlockScanner& scanner_;
  const IdFilter& filter_;
  const SearchParams& params_;
  std::size_t num_candidates_;
};

}  // namespace waterfill
