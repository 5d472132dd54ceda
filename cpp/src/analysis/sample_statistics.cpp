#include "waterfill/analysis/sample_statistics.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels.hpp"
#include "waterfill/core/row_validation.hpp"
#include "waterfill/core/thread_pool.hpp"

namespace waterfill {

namespace {

// Both pass over the same members: one writes them to bytes, the other one reads them.
class ByteWriter {
 public:
  template <class T>
  void value(const T& value) {
    const auto* data = reinterpret_cast<const std::uint8_t*>(&value);
    bytes_.insert(bytes_.end(), data, data + sizeof(T));
  }
  template <class T>
  void values(const std::vector<T>& values) {
    value(values.size());
    const auto* data = reinterpret_cast<const std::uint8_t*>(values.data());
    bytes_.insert(bytes_.end(), data, data + values.size() * sizeof(T));
  }
  std::vector<std::uint8_t> take() { return std::move(bytes_); }

 private:
  std::vector<std::uint8_t> bytes_;
};

class ByteReader {
 public:
  ByteReader(const std::uint8_t* data, std::size_t size) : data_(data), left_(size) {}

  template <class T>
  void value(T& value) {
    copy(&value, sizeof(T));
  }
  template <class T>
  void values(std::vector<T>& values) {
    std::size_t size = 0;
    value(size);
    require(size <= left_ / sizeof(T), "moments: too few bytes");
    values.resize(size);
    copy(values.data(), size * sizeof(T));
  }
  bool at_end() const { return left_ == 0; }

 private:
  void copy(void* to, std::size_t size) {
    require(size <= left_, "moments: too few bytes");
    if (size > 0) std::memcpy(to, data_, size);
    data_ += size;
    left_ -= size;
  }

  const std::uint8_t* data_;
  std::size_t left_;
};

}  // namespace

template <class Stream>
void DuplicateCounter::visit(Stream& stream) {
  std::vector<std::uint64_t> hashes, counts;
  for (const auto& [hash, count] : counts_) {
    hashes.push_back(hash);
    counts.push_back(count);
  }
  stream.value(level_);
  stream.values(hashes);
  stream.values(counts);
  require(hashes.size() == counts.size(), "moments: damaged");
  for (std::size_t i = 0; i < hashes.size(); ++i) counts_[hashes[i]] = counts[i];
}

void DuplicateCounter::add(const float* row, std::size_t d) {
  insert(hash_row(row, d), 1);
}

void DuplicateCounter::insert(std::uint64_t hash, std::uint64_t count) {
  if (level_ != 0 && (hash >> (64 - level_)) != 0) return;
  counts_[hash] += count;
  while (counts_.size() > kCapacity) raise_level(level_ + 1);
}

void DuplicateCounter::raise_level(unsigned level) {
  level_ = level;
  std::erase_if(counts_, [&](const auto& item) { return (item.first >> (64 - level)) != 0; });
}

void DuplicateCounter::merge(const DuplicateCounter& other) {
  if (other.level_ > level_) raise_level(other.level_);
  for (const auto& [hash, count] : other.counts_) insert(hash, count);
}

double DuplicateCounter::duplicates() const {
  std::uint64_t extra = 0;
  for (const auto& item : counts_) extra += item.second - 1;
  return std::ldexp(static_cast<double>(extra), static_cast<int>(level_));
}

Moments::Moments(std::vector<double> center, double floor)
    : d_(center.size()),
      stride_((d_ + 3) / 4 * 4),
      center_(std::move(center)),
      floor_(floor),
      minima_(d_, std::numeric_limits<float>::infinity()),
      maxima_(d_, -std::numeric_limits<float>::infinity()),
      z_sum_(d_, 0.0),
      wz_sum_(d_, 0.0),
      wzz_sum_(d_ * stride_, 0.0) {
  require(d_ >= 1, "center must have at least one value");
}

template <class Stream>
void Moments::visit(Stream& stream) {
  stream.values(center_);
  stream.value(floor_);
  for (std::uint64_t* count : {&seen_, &count_, &zero_rows_, &nonfinite_}) stream.value(*count);
  stream.values(first_nonfinite_);
  duplicates_.visit(stream);
  stream.values(minima_);
  stream.values(maxima_);
  stream.value(norms_);
  stream.value(z_squares_);
  stream.value(w_sum_);
  for (std::vector<double>* sums : {&z_sum_, &wz_sum_, &wzz_sum_}) stream.values(*sums);
}

std::vector<std::uint8_t> Moments::to_bytes() const {
  ByteWriter writer;
  Moments(*this).visit(writer);
  return writer.take();
}

Moments Moments::restored(const std::uint8_t* data, std::size_t size) {
  std::vector<double> center;
  ByteReader(data, size).values(center);
  Moments moments(std::move(center), 0);
  ByteReader reader(data, size);
  moments.visit(reader);
  const std::size_t d = moments.d_;
  require(reader.at_end() && moments.minima_.size() == d && moments.maxima_.size() == d &&
              moments.z_sum_.size() == d && moments.wz_sum_.size() == d &&
              moments.wzz_sum_.size() == d * moments.stride_,
          "moments: damaged");
  return moments;
}

void Moments::record_norm(double squares) {
  const double norm = std::sqrt(squares);
  zero_rows_ += squares == 0;
  norms_.min = std::min(norms_.min, norm);
  norms_.max = std::max(norms_.max, norm);
  norms_.sum += norm;
  norms_.squares += squares;
}

void Moments::record_nonfinite(std::uint64_t row) {
  ++nonfinite_;
  if (first_nonfinite_.size() < kRememberedRows) first_nonfinite_.push_back(row);
}

void Moments::update(const Rows& rows) {
  require_dimensions(rows, "x", d_);
  constexpr std::size_t kRows = 64;  // two buffers of this size fit the second-level cache
  std::vector<double> z(kRows * stride_, 0.0), wz(kRows * stride_, 0.0);
  for (std::size_t start = 0; start < rows.n; start += kRows) {
    const std::size_t end = std::min(start + kRows, rows.n);
    std::size_t used = 0;
    for (std::size_t i = start; i < end; ++i, ++seen_) {
      const float* row = rows.row(i);
      if (first_nonfinite_row({row, 1, d_}) == 0) {
        record_nonfinite(seen_);
        continue;
      }
      double* shifted = z.data() + used * stride_;
      double* weighted = wz.data() + used * stride_;
      double squares = 0, distance = 0;
      for (std::size_t k = 0; k < d_; ++k) {
        squares += static_cast<double>(row[k]) * row[k];
        shifted[k] = row[k] - center_[k];
        distance += shifted[k] * shifted[k];
        z_sum_[k] += shifted[k];
        minima_[k] = std::min(minima_[k], row[k]);
        maxima_[k] = std::max(maxima_[k], row[k]);
      }
      const double bounded = std::max(distance, floor_);
      const double w = bounded > 0 ? 1 / bounded : 0;
      for (std::size_t k = 0; k < d_; ++k) {
        weighted[k] = w * shifted[k];
        wz_sum_[k] += weighted[k];
      }
      w_sum_ += w;
      z_squares_ += distance;
      record_norm(squares);
      duplicates_.add(row, d_);
      ++count_;
      ++used;
    }
    constexpr std::size_t kTile = 16;
    parallel_for((d_ + kTile - 1) / kTile, [&](std::size_t tile) {
      kernels().gram(wz.data(), z.data(), used, stride_, tile * kTile,
                     std::min(d_, (tile + 1) * kTile), wzz_sum_.data());
    });
  }
}

void Moments::merge(const Moments& other) {
  if (&other == this) return merge(Moments(other));
  require(other.d_ == d_,
          "other has " + std::to_string(other.d_) + " dimensions, expected " + std::to_string(d_));
  // The sums of the other pass, shifted to this center: z = z' + shift.
  std::vector<double> shift(d_);
  const double n = static_cast<double>(other.count_);
  double shift_squares = 0, cross = 0;
  for (std::size_t k = 0; k < d_; ++k) {
    shift[k] = other.center_[k] - center_[k];
    shift_squares += shift[k] * shift[k];
    cross += shift[k] * other.z_sum_[k];
  }
  z_squares_ += other.z_squares_ + 2 * cross + n * shift_squares;
  for (std::size_t i = 0; i < d_; ++i) {
    z_sum_[i] += other.z_sum_[i] + n * shift[i];
    wz_sum_[i] += other.wz_sum_[i] + other.w_sum_ * shift[i];
    for (std::size_t j = i; j < d_; ++j) {
      wzz_sum_[i * stride_ + j] += other.wzz_sum_[i * stride_ + j] + other.wz_sum_[i] * shift[j] +
                                   shift[i] * other.wz_sum_[j] + other.w_sum_ * shift[i] * shift[j];
    }
    minima_[i] = std::min(minima_[i], other.minima_[i]);
    maxima_[i] = std::max(maxima_[i], other.maxima_[i]);
  }
  w_sum_ += other.w_sum_;
  count_ += other.count_;
  zero_rows_ += other.zero_rows_;
  nonfinite_ += other.nonfinite_;
  for (const std::uint64_t row : other.first_nonfinite_) {
    if (first_nonfinite_.size() < kRememberedRows) first_nonfinite_.push_back(seen_ + row);
  }
  seen_ += other.seen_;
  norms_.min = std::min(norms_.min, other.norms_.min);
  norms_.max = std::max(norms_.max, other.norms_.max);
  norms_.sum += other.norms_.sum;
  norms_.squares += other.norms_.squares;
  duplicates_.merge(other.duplicates_);
}

std::vector<double> Moments::mean() const {
  std::vector<double> mean(center_);
  if (count_ == 0) return mean;
  for (std::size_t k = 0; k < d_; ++k) mean[k] += z_sum_[k] / static_cast<double>(count_);
  return mean;
}

double Moments::variance() const {
  if (count_ == 0) return 0;
  const double n = static_cast<double>(count_);
  double offset = 0;
  for (const double sum : z_sum_) offset += (sum / n) * (sum / n);
  return std::max(0.0, z_squares_ / n - offset);
}

std::vector<double> Moments::direction_covariance() const {
  std::vector<double> covariance(d_ * d_, 0.0);
  if (count_ == 0) return covariance;
  std::vector<double> offset(d_);
  for (std::size_t k = 0; k < d_; ++k) offset[k] = z_sum_[k] / static_cast<double>(count_);
  double trace = 0;
  for (std::size_t i = 0; i < d_; ++i) {
    for (std::size_t j = i; j < d_; ++j) {
      const double value = wzz_sum_[i * stride_ + j] - offset[i] * wz_sum_[j] -
                           wz_sum_[i] * offset[j] + w_sum_ * offset[i] * offset[j];
      covariance[i * d_ + j] = covariance[j * d_ + i] = value;
    }
    trace += covariance[i * d_ + i];
  }
  if (trace > 0) {
    for (double& value : covariance) value /= trace;
  }
  return covariance;
}

}  // namespace waterfill
