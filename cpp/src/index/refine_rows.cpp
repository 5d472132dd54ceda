#include "waterfill/index/refine_rows.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <new>
#include <sstream>
#include <string>

#include "float16.hpp"
#include "index/read_ahead.hpp"
#include "kernels.hpp"
#include "waterfill/core/prefetch.hpp"
#include "waterfill/core/row_validation.hpp"
#include "waterfill/core/system.hpp"
#include "waterfill/core/thread_pool.hpp"

namespace waterfill {
namespace {

constexpr std::align_val_t kLine{64};
constexpr std::size_t kWord = 64;
constexpr float kLargest = std::numeric_limits<float>::max();
constexpr float kSteps = 127;  // steps of an int8 row on either side of its middle

template <class T>
T load(const std::uint8_t* row, std::size_t k) {  // of any alignment
  T value;
  std::memcpy(&value, row + k * sizeof(T), sizeof(T));
  return value;
}

template <class T>
void store(std::uint8_t* row, std::size_t k, T value) {
  std::memcpy(row + k * sizeof(T), &value, sizeof(T));
}

void require_float16_range(const Rows& rows, const char* argument, std::uint64_t first_row) {
  for (std::size_t i = 0; i < rows.n; ++i) {
    float most = 0;
    for (std::size_t k = 0; k < rows.d; ++k) most = std::max(most, std::fabs(rows.row(i)[k]));
    if (most < kFloat16Limit) continue;
    std::ostringstream message;
    message << argument << ": row " << first_row + i << " has a value of size " << most
            << ", expected at most 65504 for float16 rows; use int8 or float32 rows";
    throw InvalidArgument(message.str());
  }
}

std::size_t whole_pages(std::size_t bytes) {
  return (bytes + kHugePage - 1) / kHugePage * kHugePage;
}

// The step of a row with this range, small enough that no byte decodes to an infinity.
float step_between(float least, float largest, float middle) {
  auto step = static_cast<float>((static_cast<double>(largest) - least) / (2 * kSteps));
  while (!std::isfinite(middle + step * kSteps) || !std::isfinite(middle - step * kSteps)) {
    step = std::nextafter(step, 0.0f);
  }
  return step;
}

void encode_int8(const float* values, std::size_t d, std::uint8_t* row) {
  float least = values[0], largest = values[0];
  for (std::size_t k = 1; k < d; ++k) {
    least = std::min(least, values[k]);
    largest = std::max(largest, values[k]);
  }
  const auto middle = static_cast<float>((static_cast<double>(least) + largest) / 2);
  const float step = step_between(least, largest, middle);
  store(row, 0, middle);
  store(row, 1, step);
  std::uint8_t* bytes = row + kRowHead;
  if (step == 0) {
    std::memset(bytes, 0, d);
    return;
  }
  constexpr float kRound = 3 << 22;  // adding and subtracting it rounds to an integer, ties to even
  for (std::size_t k = 0; k < d; ++k) {
    const float steps = std::clamp((values[k] - middle) / step, -kSteps, kSteps);
    bytes[k] = static_cast<std::uint8_t>(static_cast<std::int32_t>(steps + kRound - kRound));
  }
}

void encode_row(RowKind kind, const float* values, std::size_t d, std::uint8_t* row) {
  switch (kind) {
    case RowKind::float32:
      std::memcpy(row, values, d * sizeof(float));
      return;
    case RowKind::float16:
      for (std::size_t k = 0; k < d; ++k) store(row, k, to_float16(values[k]));
      return;
    case RowKind::int8:
      encode_int8(values, d, row);
  }
}

void decode_row(RowKind kind, const std::uint8_t* row, std::size_t d, float* values) {
  switch (kind) {
    case RowKind::float32:
      std::memcpy(values, row, d * sizeof(float));
      return;
    case RowKind::float16:
      for (std::size_t k = 0; k < d; ++k) values[k] = from_float16(load<std::uint16_t>(row, k));
      return;
    case RowKind::int8:
      const float middle = load<float>(row, 0), step = load<float>(row, 1);
      for (std::size_t k = 0; k < d; ++k) {
        values[k] = middle + step * static_cast<float>(load<std::int8_t>(row + kRowHead, k));
      }
  }
}

// NaN and the infinities are the values whose exponent bits are all one.
template <class T, T kExponent>
bool values_are_finite(const std::uint8_t* row, std::size_t d) {
  unsigned found = 0;
  for (std::size_t k = 0; k < d; ++k) found |= (load<T>(row, k) & kExponent) == kExponent;
  return found == 0;
}

bool row_is_finite(RowKind kind, const std::uint8_t* row, std::size_t d) {
  switch (kind) {
    case RowKind::float32:
      return values_are_finite<std::uint32_t, 0x7f800000u>(row, d);
    case RowKind::float16:
      return values_are_finite<std::uint16_t, 0x7c00u>(row, d);
    case RowKind::int8:
      break;
  }
  const float middle = load<float>(row, 0), furthest = load<float>(row, 1) * (kSteps + 1);
  return std::isfinite(middle + furthest) && std::isfinite(middle - furthest);
}

// The same for a float32 row. Nearly always one product is enough: a sum of squares with a value
// that is not finite is not finite either.
bool is_finite(const float* row, std::size_t d) {
  return std::isfinite(kernels().rows.product.float32(row, row, d)) ||
         row_is_finite(RowKind::float32, reinterpret_cast<const std::uint8_t*>(row), d);
}

// The score in float64, for sums beyond float32 and rows that are not finite.
float careful_score(RowKind kind, const float* query, bool euclidean, const std::uint8_t* row,
                    std::size_t d) {
  std::vector<float> values(d);
  decode_row(kind, row, d, values.data());
  double sum = 0;
  bool finite = true;
  for (std::size_t k = 0; k < d; ++k) {
    const double q = query[k], x = values[k];
    finite = finite && std::isfinite(values[k]);
    sum += euclidean ? (q - x) * (q - x) : q * x;
  }
  if (!finite || std::isnan(sum)) return euclidean ? kLargest : -kLargest;
  return static_cast<float>(std::clamp(sum, -static_cast<double>(kLargest), double{kLargest}));
}

RowKernels::Score kernel(RowKind kind, bool euclidean) {
  const RowKernels& rows = kernels().rows;
  const RowKernels::Kinds& kinds = euclidean ? rows.distance : rows.product;
  switch (kind) {
    case RowKind::float32:
      return kinds.float32;
    case RowKind::float16:
      return kinds.float16;
    case RowKind::int8:
      break;
  }
  return kinds.int8;
}

}  // namespace

const char* row_kind_name(RowKind kind) {
  constexpr const char* kNames[] = {"float32", "float16", "int8"};
  return kNames[static_cast<std::size_t>(kind)];
}

std::size_t row_bytes(RowKind kind, std::size_t d) {
  switch (kind) {
    case RowKind::float32:
      return d * sizeof(float);
    case RowKind::float16:
      return d * sizeof(std::uint16_t);
    case RowKind::int8:
      break;
  }
  return d + kRowHead;
}

void RowBytes::Free::operator()(std::uint8_t* bytes) const {
  if (mapped > 0) {
    release_pages(bytes, mapped);
  } else {
    ::operator delete(bytes, alignment);
  }
}

RowBytes::Memory RowBytes::on_heap(std::size_t size) {
  return {static_cast<std::uint8_t*>(::operator new(size, kLine)), Free{kLine}};
}

// Addresses for `limit` bytes, or where the system refuses that many, for `size`.
RowBytes::Memory RowBytes::map(std::size_t size, std::size_t limit) {
  for (const std::size_t wanted : {whole_pages(limit), whole_pages(size)}) {
    Memory bytes{reserve_pages(wanted), Free{kLine, wanted}};
    if (bytes && commit_pages(bytes.get(), whole_pages(size))) return bytes;
  }
  throw std::bad_alloc();
}

void RowBytes::reallocate(std::size_t capacity, std::size_t used, std::size_t limit) {
  const bool large = capacity >= kHugePage;
  if (large && capacity <= reserved()) {
    const std::size_t kept = whole_pages(capacity), held = whole_pages(capacity_);
    if (kept < held) discard_pages(data_.get() + kept, held - kept);
    if (kept > held && !commit_pages(data_.get() + held, kept - held)) throw std::bad_alloc();
  } else {
    Memory bytes = large ? map(capacity, limit) : on_heap(capacity);
    if (used > 0) std::memcpy(bytes.get(), data_.get(), used);
    data_ = std::move(bytes);
  }
  capacity_ = capacity;
}

RefineRows::RefineRows(RowKind kind, std::size_t d)
    : kind_(kind), d_(d), row_bytes_(row_bytes(kind, d)) {}

RefineRows RefineRows::borrow(RowKind kind, std::size_t d, const BorrowedRows& rows) {
  RefineRows result(kind, d);
  result.size_ = rows.n;
  result.borrowed_ = true;
  result.borrowed_data_ = static_cast<const std::uint8_t*>(rows.data);
  result.stride_ = rows.stride;
  return result;
}

std::size_t RefineRows::bytes() const {
  std::size_t sum = segments_.capacity() * sizeof(RowBytes);
  for (const RowBytes& segment : segments_) sum += segment.capacity();
  return sum;
}

void RefineRows::require_owned() const {
  if (borrowed_) throw std::logic_error("borrowed rows cannot be changed");
}

void RefineRows::require_same_kind(const RefineRows& other) const {
  require_owned();
  other.require_owned();
  require(other.kind_ == kind_ && other.d_ == d_,
          std::string("other has ") + row_kind_name(other.kind_) + " rows of " +
              std::to_string(other.d_) + " values, expected " + row_kind_name(kind_) + " rows of " +
              std::to_string(d_));
}

// Reserves memory for n rows in total; with `spare`, a sixteenth more in the last segment.
void RefineRows::grow(std::size_t n, bool spare) {
  const std::size_t full = kCapacity * row_bytes_;
  for (std::size_t first = size_ / kCapacity * kCapacity; first < n; first += kCapacity) {
    const std::size_t s = first / kCapacity,
                      used = std::min(size_ - std::min(size_, first), kCapacity);
    if (s == segments_.size()) segments_.emplace_back();
    const std::size_t needed = std::min(n - first, kCapacity) * row_bytes_;
    if (needed <= segments_[s].capacity()) continue;
    const bool growing = spare && used > 0;
    segments_[s].reallocate(growing ? std::min(needed + needed / 16, full) : needed,
                            used * row_bytes_, full);
  }
}

// Frees the memory that n rows do not need, except a spare sixteenth.
void RefineRows::shrink(std::size_t n) noexcept {
  segments_.resize(std::min(segments_.size(), (n + kCapacity - 1) / kCapacity));
  size_ = n;
  if (n == 0) return;
  const std::size_t used = (n - (n - 1) / kCapacity * kCapacity) * row_bytes_;
  if (segments_.back().capacity() <= used + used / 16) return;
  try {
    segments_.back().reallocate(used, used, kCapacity * row_bytes_);
  } catch (const std::bad_alloc&) {  // keep the larger memory
  }
}

void RefineRows::encode(const Rows& rows, std::size_t first, std::size_t n) {
  std::vector<float> row(d_);  // a copy: another thread may write to the rows of the caller
  for (std::size_t i = first; i < first + n; ++i) {
    std::uint8_t* out = own(size_ + i);
    bool finite;
    if (kind_ == RowKind::float32) {  // its own copy
      encode_row(kind_, rows.row(i), d_, out);
      finite = is_finite(reinterpret_cast<const float*>(out), d_);
    } else {
      std::copy_n(rows.row(i), d_, row.data());
      finite = is_finite(row.data(), d_);
      if (finite) encode_row(kind_, row.data(), d_, out);
      if (finite && kind_ == RowKind::float16) finite = row_is_finite(kind_, out, d_);
    }
    if (!finite) {
      throw InvalidArgument("x has a NaN or an infinity in a row that changed while it was read");
    }
  }
}

void RefineRows::append(const Rows& rows, const char* argument, std::uint64_t first_row) {
  require_owned();
  require_dimensions(rows, argument, d_);
  require_finite(rows, argument, first_row);
  if (kind_ == RowKind::float16) require_float16_range(rows, argument, first_row);
  try {
    grow(size_ + rows.n, true);
    constexpr std::size_t kShare = 128;
    parallel_for((rows.n + kShare - 1) / kShare, [&](std::size_t share) {
      encode(rows, share * kShare, std::min(kShare, rows.n - share * kShare));
    });
  } catch (...) {
    shrink(size_);
    throw;
  }
  size_ += rows.n;
}

// A few rows are copied into the last segment, which grows with room to spare. Otherwise the rows
// of the other fill the last segment, and its segments, each shifted by as many rows, follow.
void RefineRows::merge(RefineRows&& other) {
  require_same_kind(other);
  if (other.mapped_size_ > 0) throw std::logic_error("rows of a mapped file cannot be moved");
  const std::size_t used = size_ % kCapacity, room = used == 0 ? 0 : kCapacity - used;
  const bool fits = other.size_ <= room;
  try {
    segments_.reserve(segments_.size() + other.segments_.size());
    if (room > 0) grow(size_ + std::min(room, other.size_), fits);
  } catch (...) {
    shrink(size_);
    throw;
  }
  std::size_t left = other.size_;
  for (RowBytes& segment : other.segments_) {
    const std::size_t rows = std::min(left, kCapacity), up = std::min(rows, room);
    if (up > 0) {
      std::memcpy(segments_.back().data() + used * row_bytes_, segment.data(), up * row_bytes_);
    }
    if (rows > up) {
      std::memmove(segment.data(), segment.data() + up * row_bytes_, (rows - up) * row_bytes_);
      segments_.push_back(std::move(segment));
    }
    left -= rows;
  }
  shrink(size_ + other.size_);
  other.segments_.clear();
  other.size_ = 0;
}

void RefineRows::remove(const std::vector<std::uint64_t>& drop) {
  require_owned();
  std::size_t kept = 0;
  for (std::size_t i = 0; i < size_; ++i) {
    if ((drop[i / kWord] >> i % kWord & 1) != 0) continue;
    if (kept != i) std::memcpy(own(kept), own(i), row_bytes_);
    ++kept;
  }
  shrink(kept);
}

void RefineRows::truncate(std::size_t n) noexcept {
  const std::size_t own = n - std::min(n, mapped_size_);
  if (!borrowed_ && own < size_) shrink(own);
}

void RefineRows::attach(const std::uint8_t* rows, std::size_t n) {
  require_owned();
  if (size_ > 0) throw std::logic_error("mapped rows cannot follow owned rows");
  expect_scattered_reads(rows, n * row_bytes_);
  mapped_.push_back({rows, mapped_size_, n});
  mapped_size_ += n;
}

std::size_t RefineRows::contiguous(std::size_t row) const {
  if (row < mapped_size_) {
    const Mapped& own = mapped_of(row);
    return own.first + own.n - row;
  }
  row -= mapped_size_;
  return std::min(size_ - row, kCapacity - row % kCapacity);
}

void RefineRows::read(std::size_t row, float* out) const {
  decode_row(kind_, at(row), d_, out);
}

std::size_t RefineRows::first_nonfinite(std::size_t first) const {
  while (first < size() && row_is_finite(kind_, at(first), d_)) ++first;
  return first;
}

template <class Number>
void RefineRows::score_rows(const float* query, bool euclidean, const Number* rows, std::size_t n,
                            float* out) const {
  constexpr std::size_t kAhead = 16;   // rows to prefetch
  constexpr std::size_t kMost = 4096;  // bytes of each
  const RowKernels::Score score = kernel(kind_, euclidean);
  const std::size_t near = std::min(row_bytes_, kMost);
  const auto prefetch = [&](std::size_t i) {
    prefetch_bytes<CacheLevel::second>(at(static_cast<std::size_t>(rows[i])), near);
  };
  const auto score_row = [&](std::size_t i) {
    const std::uint8_t* row = at(static_cast<std::size_t>(rows[i]));
    out[i] = score(query, row, d_);
    if (!std::isfinite(out[i])) out[i] = careful_score(kind_, query, euclidean, row, d_);
  };
  std::size_t first = 0;
  if (on_disk() && n > 1) {
    ReadAhead ahead;
    score_row(first++);
    if (ahead.wanted()) {
      for (std::size_t i = first; i < n; ++i) {
        request(at(static_cast<std::size_t>(rows[i])), row_bytes_);
      }
    }
  }
  for (std::size_t i = first; i < std::min(first + kAhead, n); ++i) prefetch(i);
  for (std::size_t i = first; i < n; ++i) {
    if (i + kAhead < n) prefetch(i + kAhead);
    score_row(i);
  }
}

void RefineRows::score(const float* query, bool euclidean, const std::uint32_t* rows, std::size_t n,
                       float* out) const {
  score_rows(query, euclidean, rows, n, out);
}

void RefineRows::score(const float* query, bool euclidean, const std::int64_t* rows, std::size_t n,
                       float* out) const {
  score_rows(query, euclidean, rows, n, out);
}

}  // namespace waterfill
