// Statistics of a sample: mean, covariance of directions, norms, ranges and duplicate rows.
//
// They are accumulated in one blocked pass, and the results of two passes can be merged.
//
// Quantization works on directions u = (x - mean) / |x - mean|, so the second moments are those of
// directions. The mean is known only after the pass: rows are weighted by their distance to a
// provisional center instead, and the sums are shifted to the true mean at the end. If the center
// is near the mean the difference is of second order.
#pragma once

#include <cstdint>
#include <limits>
#include <unordered_map>
#include <vector>

#include "waterfill/core/types.hpp"

namespace waterfill {

// Counts exact copies of rows in bounded memory: it keeps only hashes that start with `level` zero
// bits, and all copies of a row have the same hash. The count is exact up to kCapacity distinct
// rows and an unbiased estimate beyond.
class DuplicateCounter {
 public:
  void add(const float* row, std::size_t d);
  void merge(const DuplicateCounter& other);
  double duplicates() const;
  bool exact() const { return level_ == 0; }
  template <class Stream>
  void visit(Stream& stream);

 private:
  static constexpr std::size_t kCapacity = 65536;
  void insert(std::uint64_t hash, std::uint64_t count);
  void raise_level(unsigned level);

  unsigned level_ = 0;
  std::unordered_map<std::uint64_t, std::uint64_t> counts_;
};

class Moments {
 public:
  // center: d values, a point near the data such as the mean of a few rows. Rows whose squared
  // distance to it is below `floor` get the weight 1 / floor: without this bound a single row at
  // the center would outweigh all others although its direction carries little information.
  Moments(std::vector<double> center, double floor);

  // Rows with a NaN or an infinity are counted, their first numbers are kept, and they enter no
  // other statistic.
  void update(const Rows& rows);
  // Adds the statistics of another pass. Its row numbers continue after those of this pass.
  void merge(const Moments& other);

  // The statistics as bytes for another process of the same program; `restored` checks lengths
  // only.
  std::vector<std::uint8_t> to_bytes() const;
  static Moments restored(const std::uint8_t* data, std::size_t size);

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
  // E[u u^T], d * d values with trace 1 (all zero if every row equals the mean).
  std::vector<double> direction_covariance() const;

 private:
  static constexpr std::size_t kRememberedRows = 10;
  template <class Stream>
  void visit(Stream& stream);
  void record_norm(double squares);
  void record_nonfinite(std::uint64_t row);

  std::size_t d_, stride_;  // stride_: d_ rounded up to a multiple of 4, as `gram` requires
  std::vector<double> center_;
  double floor_;
  std::uint64_t seen_ = 0, count_ = 0, zero_rows_ = 0, nonfinite_ = 0;
  std::vector<std::uint64_t> first_nonfinite_;
  DuplicateCounter duplicates_;
  std::vector<float> minima_, maxima_;
  Norms norms_;
  // With z = x - center and w = 1 / max(|z|^2, floor):
  double z_squares_ = 0, w_sum_ = 0;
  std::vector<double> z_sum_, wz_sum_, wzz_sum_;
};

}  // namespace waterfill
