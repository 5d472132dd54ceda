// Scores of many queries with many rows as matrix products, for calibration.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "search/reservoir.hpp"
#include "waterfill/codec/codec.hpp"
#include "waterfill/core/thread_pool.hpp"

namespace waterfill {

inline constexpr std::size_t kBlockRows = 1024;
inline constexpr std::size_t kNearest = 10;  // calibration uses recall@10
using Top = std::vector<std::uint32_t>;      // row numbers, ascending

// Offers the scores of rows first, first + 1, ...
void offer_all(Reservoir& best, const float* scores, std::size_t n, std::size_t first);
Top top_of(Reservoir& best);
std::size_t overlap(const Top& a, const Top& b);

float squared_distance(const float* row, const std::vector<float>& point);

// Products of every query with every row of a block.
class Products {
 public:
  // queries: n rows of d values; entry(k, i) gives value k of row i.
  template <class Entry>
  Products(const std::vector<float>& queries, std::size_t d, std::size_t rows, Entry entry)
      : packed_(d, rows, entry, parallel_for), values_(queries.size() / d * packed_.stride()) {
    constexpr std::size_t kChunk = 16;
    const std::size_t n = queries.size() / d;
    parallel_for((n + kChunk - 1) / kChunk, [&](std::size_t chunk) {
      const std::size_t first = chunk * kChunk;
      packed_.multiply(queries.data() + first * d, std::min(kChunk, n - first),
                       values_.data() + first * packed_.stride());
    });
  }

  const float* of_query(std::size_t q) const { return values_.data() + q * packed_.stride(); }

 private:
  PackedMatrix packed_;
  std::vector<float> values_;
};

// Queries minus the mean, and the mean itself as the last of n + 1 rows. L2 scores use the small
// products of the centered query; inner products add those of the mean.
std::vector<float> centered_queries(const Codec& codec, const Rows& queries);
// The same, projected to the coordinates of codes: n + 1 rows of p values.
std::vector<float> project_queries(const Codec& codec, const Rows& queries);

// The decoded directions of n codes: rows of p values.
void decode_block(const Codec& codec, const std::uint8_t* codes, std::size_t n, float* directions);

// The ten nearest rows of each query, by exact scores.
std::vector<Top> exact_tops(const Codec& codec, const Rows& base, const Rows& queries,
                            bool euclidean);

// The terms of scores that depend on the coding centers: the mean, or the centroids of the cells.
class CenterTerms {
 public:
  CenterTerms(const Codec& codec, const Rows& queries, const std::vector<std::uint8_t>& codes);

  // <q, center> and -|q - center|^2 for all centers, up to a constant that depends on the query.
  const float* inner_products(std::size_t q) const { return inner_.data() + q * lists_; }
  const float* distances(std::size_t q) const { return distances_.data() + q * lists_; }
  // The center of each row.
  const std::uint16_t* cells() const { return cells_.data(); }
  // <center - mean, u_hat> of row i.
  float center_product(std::size_t i) const { return center_products_[i]; }

 private:
  std::size_t lists_;
  std::vector<std::uint16_t> cells_;
  std::vector<float> center_products_, inner_, distances_;
};

// Calls visit(i) for rows 0 to n - 1, those of different tasks at the same time.
template <class Visit>
void for_rows(std::size_t n, Visit visit) {
  constexpr std::size_t kTaskRows = 64;
  parallel_for((n + kTaskRows - 1) / kTaskRows, [&](std::size_t task) {
    const std::size_t end = std::min((task + 1) * kTaskRows, n);
    for (std::size_t i = task * kTaskRows; i < end; ++i) visit(i);
  });
}

// Calls visit(first, n) for each block of rows.
template <class Visit>
void for_blocks(std::size_t rows, Visit visit) {
  for (std::size_t first = 0; first < rows; first += kBlockRows) {
    visit(first, std::min(kBlockRows, rows - first));
  }
}

}  // namespace waterfill
