// Statistics of a sample, accumulated in one blocked pass and mergeable.
//
// Quantization works on directions u = (x - mean) / |x - mean|, so the second moments are those of
// directions. The mean is known only after the pass: rows are weighted with the distance to a
// provisional centre instead, and the sums are moved to the true mean at the end. With a centre
// near the mean the difference is of second order.
#pragma once

#include <cstdint>
#include <limits>
#include <unordered_map>
#include <vector>

#include "waterfill/core/types.hpp"

namespace waterfill {

// Counts rows that are exact copies of another row, in bounded memory: hashes are kept only while
// they start with `level` zero bits, and every copy of a row has the same hash. Exact up to
// kCapacity distinct rows, an unbiased estimate beyond.
class DuplicateCounter {
 public:
  void add(const float* row, std::size_t d);
  void merge(const DuplicateCounter& other);
  double duplicates() const;
  bool exact() const { return level_ == 0; }

 private:
  static constexpr std::size_t kCapacity = 65536;
  void insert(std::uint64_t hash, std::uint64_t count);
  void raise_level(unsigned level);

  unsigned level_ = 0;
  std::unordered_map<std::uint64_t, std::uint64_t> counts_;
};

class Moments {
 public:
  // centre: d values, any point near the data (the mean of a few rows). Rows whose squared
  // distance to it is below `floor` weigh 1 / floor: their direction means little, and without a
  // bound one row at the centre would outweigh all others.
  Moments(std::vector<double> centre, double floor);

  // Rows with a NaN or an infinity are counted, remembered by number, and otherwise left out.
  void update(const Rows& rows);
  // Adds what another pass saw; its row numbers continue after this one's.
  void merge(const Moments& other);

  std::size_t dim() const { return d_; }
  std::uint64_t rows_seen() const { return seen_; }
  std::uint64_t count() const { return count_; }
  std::uint64_t zero_rows() const { return zero_rows_; }
  std::uint64_t nonfinite_rows() const { return nonfinite_; }
  const std::vector<std::uint64_t>& first_nonfinite() const { return first_nonfinite_; }
  const DuplicateCounter& duplicates() const { return duplicates_; }
  const std::vector<float>& minima() const { return minima_; }
  const std::vector<float>& maxima() const { return maxima_; }

  struct Norms {
    double min = std::numeric_limits<double>::infinity(), max = 0, sum = 0, squares = 0;
  };
  const Norms& norms() const { return norms_; }

  std::vector<double> mean() const;
  // Mean squared distance from the mean: the trace of the covariance.
  double variance() const;
  // E[u u^T], d * d values, trace 1 (all zero where every row is the mean).
  std::vector<double> direction_covariance() const;

 private:
  static constexpr std::size_t kRememberedRows = 10;
  void record_norm(double squares);
  void note_nonfinite(std::uint64_t row);

  std::size_t d_, stride_;  // stride_: d_ rounded up to a multiple of 4, as the kernel wants it
  std::vector<double> centre_;
  double floor_;
  std::uint64_t seen_ = 0, count_ = 0, zero_rows_ = 0, nonfinite_ = 0;
  std::vector<std::uint64_t> first_nonfinite_;
  DuplicateCounter duplicates_;
  std::vector<float> minima_, maxima_;
  Norms norms_;
  // With z = x - centre and w = 1 / max(|z|^2, floor):
  double z_squares_ = 0, w_sum_ = 0;
  std::vector<double> z_sum_, wz_sum_, wzz_sum_;
};

}  // namespace waterfill
