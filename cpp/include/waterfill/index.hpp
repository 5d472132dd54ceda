// Codes with positions as ids, searched exhaustively in two stages. Safe to search from several
// threads; a change waits for running searches and is seen whole or not at all.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <shared_mutex>
#include <vector>

#include "waterfill/codec.hpp"
#include "waterfill/store.hpp"

namespace waterfill {

inline constexpr std::size_t kMaxVectors = 0xffffffff;  // positions have 32 bits

struct SearchParams {
  std::size_t k;
  std::size_t candidates;   // vectors that go from the coarse to the full score
  std::size_t scan_groups;  // groups that the coarse score reads; 0: all
  float reach = std::numeric_limits<float>::infinity();  // see Depth
};

class Scoring;

class IndexFlat {
 public:
  IndexFlat(std::shared_ptr<const Codec> codec, Metric metric);
  ~IndexFlat();

  const std::shared_ptr<const Codec>& codec() const { return codec_; }
  Metric metric() const { return metric_; }
  Alpha alpha() const;
  // Whether a second byte a vector is kept, which the coarse stage needs for L2: |u_cell|^2, or
  // with cells what OffsetScale says.
  bool keeps_extra() const { return metric_ == Metric::l2; }
  // Memory of the stored vectors.
  std::size_t bytes() const;
  std::size_t size() const;

  // codes: n rows of codec()->code_size() bytes.
  void append(const std::uint8_t* codes, std::size_t n);
  // The codes of vectors [first, first + n).
  void codes(std::size_t first, std::size_t n, std::uint8_t* out) const;
  // Removes by position; ids that are not in the index are ignored. Survivors move up. Returns
  // the number removed.
  std::size_t remove(const std::int64_t* ids, std::size_t n);
  void reset();

  // distances, labels: queries.n * k values, best first, ids of equal scores ascending; missing
  // ones are -1 with the worst possible distance.
  //
  // With c the centroid of the vector's cell (the mean where there are no cells):
  // inner product and cosine:  <q, c> + s <q', y_hat>
  // L2:                        |q - c|^2 + |s u_hat|^2 - 2 s <(q - c)', y_hat>
  void search(const Rows& queries, const SearchParams& params, float* distances,
              std::int64_t* labels) const;

  // For the file format, under the lock that search takes.
  template <class Visit>
  void visit_store(Visit visit) const {
    const std::shared_lock lock(mutex_);
    visit(store_);
  }
  // Fills the index before it is shared.
  template <class Fill>
  void load(std::size_t n, const std::uint16_t* lists, Fill fill) {
    store_.load(n, lists, fill);
    changed();
  }

 private:
  void changed();

  std::shared_ptr<const Codec> codec_;
  Metric metric_;
  CodeStore store_;
  PackedMatrix centroids_;                  // of the cells, from the mean, for queries
  std::unique_ptr<const Scoring> scoring_;  // for what the store holds
  mutable std::shared_mutex mutex_;
};

}  // namespace waterfill
