// Rows at full or nearly full precision for the last stage of a search: the exact scores of the few
// candidates that remain.
//
// Rows are either owned, in segments of limited capacity so that growth never copies much, or
// borrowed: an array of the caller, possibly memory-mapped, that is read in place. Owned rows may
// follow rows of mapped files, which are read in place too, but found by label like owned ones.
//
// Row kinds:
// - float32: 4 bytes per value, exact.
// - float16: 2 bytes per value, 11 significant bits. `append` rejects values that would round
//   beyond the largest float16, 65,504. Below 6e-5 the absolute precision is 3e-8, so vectors that
//   are this short need another kind.
// - int8: 1 byte per value and 8 bytes per row for its own range: value = middle + step * byte. No
//   value is ever out of range, and the relative precision does not depend on the norm. The error
//   is at most 1/508 of the difference between the largest and the smallest value of the row. On
//   embeddings, word vectors and SIFT the ten nearest by int8 rows agree with the true ones to
//   0.993-0.997, by float16 rows to 0.9998 and more.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <vector>

#include "waterfill/core/types.hpp"

namespace waterfill {

enum class RowKind : std::uint32_t { float32 = 0, float16 = 1, int8 = 2 };

const char* row_kind_name(RowKind kind);

// Bytes of a row of d values. An int8 row starts with its middle and step in float32.
std::size_t row_bytes(RowKind kind, std::size_t d);

// Rows that the caller owns and keeps alive. They may have any alignment.
struct BorrowedRows {
  const void* data;
  std::size_t n;
  std::ptrdiff_t stride;  // bytes between rows; the values of a row are contiguous
};

// The memory of a segment: uninitialized, aligned so that a row spans as few cache lines as
// possible, and backed by huge pages where the system has them. A search reads scattered rows and
// would need a page-table walk for each.
//
// A large one reserves addresses for as much as it may become, so that growth copies nothing: the
// system gives memory to what has been written.
class RowBytes {
 public:
  std::uint8_t* data() { return data_.get(); }
  const std::uint8_t* data() const { return data_.get(); }
  std::size_t capacity() const { return capacity_; }
  // Keeps the first `used` bytes; used <= capacity <= limit. limit: what it may become.
  void reallocate(std::size_t capacity, std::size_t used, std::size_t limit);

 private:
  struct Free {
    std::align_val_t alignment;
    std::size_t mapped = 0;  // bytes of a map; 0: of the heap
    void operator()(std::uint8_t* bytes) const;
  };
  using Memory = std::unique_ptr<std::uint8_t, Free>;
  static Memory on_heap(std::size_t size);
  static Memory map(std::size_t size, std::size_t limit);
  std::size_t reserved() const { return data_.get_deleter().mapped; }

  Memory data_{nullptr, Free{}};
  std::size_t capacity_ = 0;
};

class RefineRows {
 public:
  static constexpr std::size_t kCapacity = 65536;  // rows per segment

  RefineRows(RowKind kind, std::size_t d);  // owned, empty
  static RefineRows borrow(RowKind kind, std::size_t d, const BorrowedRows& rows);

  RowKind kind() const { return kind_; }
  std::size_t d() const { return d_; }
  std::size_t size() const { return mapped_size_ + size_; }
  std::size_t mapped_size() const { return mapped_size_; }
  bool borrowed() const { return borrowed_; }
  // Whether rows may have to be read from a disk.
  bool on_disk() const { return borrowed_ || mapped_size_ > 0; }
  std::size_t bytes() const;  // of owned memory

  // Appends n rows in memory that must outlive the object; there must be no owned rows yet.
  void attach(const std::uint8_t* rows, std::size_t n);

  // The methods that change rows need owned ones; with borrowed rows they throw std::logic_error.

  // Appends all rows or throws and appends none. Throws InvalidArgument for rows that are not
  // finite or exceed float16; the message names `argument` and the row, counted from first_row.
  void append(const Rows& rows, const char* argument = "x", std::uint64_t first_row = 0);
  // Moves all rows of another object of the same kind and d to the end, or throws and moves none.
  // Whole segments change owner, so this needs little extra memory.
  void merge(RefineRows&& other);
  // Removes the rows whose bit is set. The others keep their order. Cannot fail for owned rows, of
  // which all must be.
  void remove(const std::vector<std::uint64_t>& drop);
  // Keeps the first n, at least those of mapped files; no effect on borrowed rows.
  void truncate(std::size_t n) noexcept;
  void clear() noexcept { truncate(0); }

  // The values of a row as a score sees them.
  void read(std::size_t row, float* out) const;

  // out[i] = <query, row rows[i]>, or |query - row|^2 if `euclidean`, for the values that `read`
  // returns. Sums are float32 in a fixed order: the same bits on every machine. Results are always
  // finite: sums beyond float32 are clipped, and a row that is not finite (possible only for
  // borrowed or loaded rows) gets the worst score. Row numbers are not checked.
  void score(const float* query, bool euclidean, const std::uint32_t* rows, std::size_t n,
             float* out) const;
  void score(const float* query, bool euclidean, const std::int64_t* rows, std::size_t n,
             float* out) const;

  // The first row from `first` on with a value that is not finite, or size(). Rows from a file or a
  // caller are not checked otherwise.
  std::size_t first_nonfinite(std::size_t first = 0) const;

  // For files: the bytes of a row, row_bytes(kind, d) of them.
  const std::uint8_t* stored(std::size_t row) const { return at(row); }
  // The number of rows from `row` on that follow each other in memory. Not for borrowed rows.
  std::size_t contiguous(std::size_t row) const;
  // Replaces all rows by n others: fill(std::uint8_t* bytes, std::size_t count) fills each segment.
  // If it throws, no rows remain.
  template <class Fill>
  void load(std::size_t n, Fill fill) {
    clear();
    try {
      for (std::size_t done = 0; done < n; done += kCapacity) {
        const std::size_t rows = n - done < kCapacity ? n - done : kCapacity;
        grow(done + rows, false);
        fill(segments_.back().data(), rows * row_bytes_);
        size_ = done + rows;
      }
    } catch (...) {
      clear();
      throw;
    }
  }

 private:
  struct Mapped {
    const std::uint8_t* rows;
    std::size_t first, n;
  };

  const std::uint8_t* at(std::size_t row) const {
    if (borrowed_) return borrowed_data_ + static_cast<std::ptrdiff_t>(row) * stride_;
    if (row < mapped_size_) {
      const Mapped& own = mapped_of(row);
      return own.rows + (row - own.first) * row_bytes_;
    }
    row -= mapped_size_;
    return segments_[row / kCapacity].data() + row % kCapacity * row_bytes_;
  }
  const Mapped& mapped_of(std::size_t row) const {
    std::size_t i = mapped_.size() - 1;
    while (mapped_[i].first > row) --i;
    return mapped_[i];
  }
  std::uint8_t* own(std::size_t row) {  // counted without mapped rows
    return segments_[row / kCapacity].data() + row % kCapacity * row_bytes_;
  }
  void require_owned() const;
  void require_same_kind(const RefineRows& other) const;
  void grow(std::size_t n, bool spare);
  void shrink(std::size_t n) noexcept;
  void encode(const Rows& rows, std::size_t first, std::size_t n);
  template <class Number>
  void score_rows(const float* query, bool euclidean, const Number* rows, std::size_t n,
                  float* out) const;

  RowKind kind_;
  std::size_t d_, row_bytes_, size_ = 0;  // size_: without mapped rows
  std::vector<RowBytes> segments_;        // all but the last are full
  std::vector<Mapped> mapped_;
  std::size_t mapped_size_ = 0;
  bool borrowed_ = false;
  const std::uint8_t* borrowed_data_ = nullptr;
  std::ptrdiff_t stride_ = 0;
};

}  // namespace waterfill
