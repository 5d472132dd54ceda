// Codes with positions as ids, searched exhaustively in two stages. Safe to search from several
// threads; a change waits for running searches and is seen whole or not at all.
#pragma once

#include <cstdint>
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
};

class IndexFlat {
 public:
  IndexFlat(std::shared_ptr<const Codec> codec, Metric metric);

  const std::shared_ptr<const Codec>& codec() const { return codec_; }
  Metric metric() const { return metric_; }
  Alpha alpha() const;
  // Whether a second byte a vector is kept, |u_cell|^2: the coarse stage needs it for L2.
  bool keeps_cell_length() const;
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
  // inner product and cosine:  <q, mean> + s <q', y_hat>
  // L2:                        |q - mean|^2 + rho^2 - 2 s <(q - mean)', y_hat>
  void search(const Rows& queries, const SearchParams& params, float* distances,
              std::int64_t* labels) const;

  // For the file format, under the lock that search takes.
  template <class Visit>
  void visit_store(Visit visit) const {
    const std::shared_lock lock(mutex_);
    visit(store_);
  }
  CodeStore& mutable_store() { return store_; }  // before the index is shared

 private:
  std::shared_ptr<const Codec> codec_;
  Metric metric_;
  CodeStore store_;
  mutable std::shared_mutex mutex_;
};

}  // namespace waterfill
