// Rows at full length, or close to it, for the last stage of a search: the exact score of the few
// candidates that the codes leave.
//
// Rows are either owned, and then stand in segments of a limited capacity, so growing never copies
// much; or borrowed: an array of the caller (also a memory-mapped one) that is read where it lies.
//
// What a kind of row keeps:
// - float32: everything; 4 bytes a value.
// - float16: 11 bits of a value, 2 bytes. Its largest is 65,504: `append` refuses rows with a value
//   that would be rounded beyond (65,520). Below 6e-5 the precision is absolute, 3e-8: vectors
//   that are as short as that need another kind.
// - int8: a byte a value and 8 bytes a row, for its own range: row = middle + step * byte. As each
//   row brings its range, no value is ever outside, and short and long vectors are as accurate. An
//   error is at most 1/508 of the difference between the row's largest and least values. The ten
//   nearest by it are the true ones to 0.993 to 0.997 (embeddings, word vectors, SIFT), those by
//   float16 to 0.9998 and more.
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

// Bytes of a row of d values. An int8 row opens with its middle and step (float32).
std::size_t row_bytes(RowKind kind, std::size_t d);

// Rows that somebody else owns and keeps alive. No alignment is asked for.
struct BorrowedRows {
  const void* data;
  std::size_t n;
  std::ptrdiff_t stride;  // bytes from a row to the next; values of a row stand side by side
};

// Memory of a segment: uninitialised, aligned so that a row spans as few cache lines as it can, and
// in large pages where the system has them to give: a search reads rows here and there, and would
// have to look up a page for each.
class RowBytes {
 public:
  std::uint8_t* data() { return data_.get(); }
  const std::uint8_t* data() const { return data_.get(); }
  std::size_t capacity() const { return capacity_; }
  // Keeps the first `used` bytes; capacity >= used.
  void reallocate(std::size_t capacity, std::size_t used);

 private:
  struct Free {
    std::align_val_t alignment;
    void operator()(std::uint8_t* bytes) const { ::operator delete(bytes, alignment); }
  };
  std::unique_ptr<std::uint8_t, Free> data_{nullptr, Free{}};
  std::size_t capacity_ = 0;
};

class ExactRows {
 public:
  static constexpr std::size_t kCapacity = 65536;  // rows of a segment

  ExactRows(RowKind kind, std::size_t d);  // owned; no rows yet
  static ExactRows borrow(RowKind kind, std::size_t d, const BorrowedRows& rows);

  RowKind kind() const { return kind_; }
  std::size_t d() const { return d_; }
  std::size_t size() const { return size_; }
  bool borrowed() const { return borrowed_; }
  std::size_t bytes() const;  // of memory that it owns

  // The methods that change rows are of owned ones; with borrowed rows they throw std::logic_error.

  // All or nothing. Rows that are not finite, or too large for float16, are InvalidArgument, which
  // names `argument` and the row, numbered from first_row.
  void append(const Rows& rows, const char* argument = "x", std::uint64_t first_row = 0);
  // All or nothing; of the same kind and d. `merge` leaves the other empty and takes over its
  // memory: it needs little of its own.
  void append(const ExactRows& other);
  void merge(ExactRows&& other);
  // Drops the rows whose number is set in a row of bits (a word for each 64); the others keep their
  // order.
  void remove(const std::vector<std::uint64_t>& drop);
  void truncate(std::size_t n) noexcept;  // leaves the first n; nothing for borrowed rows
  void clear() noexcept { truncate(0); }

  // The row's values as a score sees them.
  void read(std::size_t row, float* out) const;

  // out[i] = <query, row rows[i]>, or |query - row|^2 where `euclidean`. As good as
  // the score of what `read` gives, in float32 and a fixed order: the same bits on every machine.
  // Always finite: what is beyond float32 is cut to its largest value, and a row that is not finite
  // (only borrowed or loaded ones can be) gets the worst score. Numbers are not checked.
  void score(const float* query, bool euclidean, const std::uint32_t* rows, std::size_t n,
             float* out) const;
  void score(const float* query, bool euclidean, const std::int64_t* rows, std::size_t n,
             float* out) const;

  // Number of the first row from `first` on with a value that is not finite, or size(): what came
  // from a file or a caller is not checked otherwise.
  std::size_t first_nonfinite(std::size_t first = 0) const;

  // For files. visit(const std::uint8_t* bytes, std::size_t count) for each segment, in order: rows
  // one after the other, row_bytes(kind, d) each. Owned rows only.
  template <class Visit>
  void visit_segments(Visit visit) const {
    for (std::size_t done = 0; !borrowed_ && done < size_; done += kCapacity) {
      const std::size_t n = size_ - done < kCapacity ? size_ - done : kCapacity;
      visit(segments_[done / kCapacity].data(), n * row_bytes_);
    }
  }
  // Replaces all rows by n others: fill(std::uint8_t* bytes, std::size_t count) for each segment.
  // If it throws, no rows are left.
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
  const std::uint8_t* at(std::size_t row) const {
    if (borrowed_) return borrowed_data_ + static_cast<std::ptrdiff_t>(row) * stride_;
    return segments_[row / kCapacity].data() + row % kCapacity * row_bytes_;
  }
  std::uint8_t* own(std::size_t row) {
    return segments_[row / kCapacity].data() + row % kCapacity * row_bytes_;
  }
  void require_owned() const;
  void require_alike(const ExactRows& other) const;
  void grow(std::size_t n, bool spare);
  void shrink(std::size_t n) noexcept;
  void encode(const Rows& rows, std::size_t first, std::size_t n);
  template <class Number>
  void score_rows(const float* query, bool euclidean, const Number* rows, std::size_t n,
                  float* out) const;

  RowKind kind_;
  std::size_t d_, row_bytes_, size_ = 0;
  std::vector<RowBytes> segments_;  // all but the last are full
  bool borrowed_ = false;
  const std::uint8_t* borrowed_data_ = nullptr;
  std::ptrdiff_t stride_ = 0;
};

}  // namespace waterfill
