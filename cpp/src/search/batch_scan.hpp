// The coarse scan of a batch of queries: which thread scans which blocks for which queries, and in
// which order.
#pragma once

#include <span>
#include <vector>

#include "search/block_scan.hpp"
#include "search/id_filter.hpp"
#include "search/list_pruning.hpp"
#include "search/query_batch.hpp"
#include "waterfill/index/code_store.hpp"

namespace waterfill {

class BatchScan {
 public:
  // num_candidates: that the scan keeps for each query.
  BatchScan(const CodeStore& store, const BlockScanner& scanner, const IdFilter& filter,
            std::size_t num_candidates)
      : store_(store), scanner_(scanner), filter_(filter), num_candidates_(num_candidates) {}

  // Scans the lists of all probes, one for each query of the batch, and adds the candidates to
  // their states. Many queries are divided among the threads; for few queries the lists are.
  void run(const QueryBatch& batch, std::vector<Probe>& probes) const;

 private:
  // The queries [begin, end) of a batch, and the state of each query.
  struct Queries {
    const QueryBatch& batch;
    const std::vector<Probe>& probes;
    std::size_t begin, end;
    const std::vector<ScanState*>& states;
  };

  std::vector<BlockRange> ranges_of(const std::vector<Probe>& probes) const;
  void add_ranges(std::size_t list, std::vector<BlockRange>& ranges) const;
  void divide_queries(const QueryBatch& batch, const std::vector<BlockRange>& ranges,
                      std::vector<Probe>& probes) const;
  void divide_ranges(const QueryBatch& batch, const std::vector<BlockRange>& ranges,
                     std::size_t parts, std::vector<Probe>& probes) const;
  bool with_sample(const std::vector<BlockRange>& ranges) const;
  void scan_with_sample(const Queries& queries, const std::vector<BlockRange>& ranges) const;
  void scan(const Queries& queries, std::span<const BlockRange> ranges) const;
  void scan_tile(const Queries& queries, std::span<const std::size_t> own,
                 const BlockRange& tile) const;

  const CodeStore& store_;
  const BlockScanner& scanner_;
  const IdFilter& filter_;
  std::size_t num_candidates_;
};

}  // namespace waterfill
