#include "waterfill/index/ids.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <string>

#include "waterfill/core/types.hpp"

namespace waterfill {
namespace {

constexpr std::int64_t kLargestId = std::numeric_limits<std::int64_t>::max();

}  // namespace

void Ids::keep() {
  if (explicit_) return;
  values_.resize(size_);
  std::iota(values_.begin(), values_.end(), std::int64_t{0});
  explicit_ = true;
}

void Ids::append(std::size_t n, const std::int64_t* ids) {
  if (n == 0 && ids == nullptr) return;
  const auto count = static_cast<std::int64_t>(n);
  if (ids != nullptr) keep();
  if (ids == nullptr) {
    require(next() <= kLargestId - count,
            "the largest id is " + std::to_string(kLargestId) +
                ", so none is left for vectors without ids; call add_with_ids");
  }
  if (explicit_) {
    const std::size_t total = size_ + n;
    // Grows by an eighth: doubling would waste up to half of the memory.
    if (total > values_.capacity()) values_.reserve(total + size_ / 8);
    for (std::size_t i = 0; i < n; ++i) {
      values_.push_back(ids != nullptr ? ids[i] : next() + static_cast<std::int64_t>(i));
    }
  }
  size_ += n;
  if (ids == nullptr) {
    next_ = next() + count;
  } else {
    raise_next(ids, n);
  }
}

// The largest id has no successor: `next` then stays there, and `append` refuses to use it.
void Ids::raise_next(const std::int64_t* ids, std::size_t n) {
  next_ = std::max(next_, static_cast<std::int64_t>(size_));
  for (std::size_t i = 0; i < n; ++i) {
    next_ = std::max(next_, ids[i] < kLargestId ? ids[i] + 1 : kLargestId);
  }
}

void Ids::remove(const Bits& drop) noexcept {
  std::size_t kept = 0;
  for (std::size_t label = 0; label < size_; ++label) {
    if (test_bit(drop, label)) continue;
    if (explicit_) values_[kept] = values_[label];
    ++kept;
  }
  size_ = kept;
  if (explicit_) {
    values_.resize(kept);  // `next` stays: the id of a removed vector is not given again
  } else {
    next_ = static_cast<std::int64_t>(kept);
  }
}

void Ids::restore(const Checkpoint& checkpoint) noexcept {
  size_ = checkpoint.size;
  explicit_ = checkpoint.is_explicit;
  next_ = checkpoint.next;
  if (explicit_) {
    values_.resize(size_);
  } else {
    values_ = {};
  }
}

Ids::Lookup::Lookup(const Ids& ids) : ids_(ids) {
  if (!ids.explicit_ || std::is_sorted(ids.values_.begin(), ids.values_.end())) return;
  order_.resize(ids.size_);
  std::iota(order_.begin(), order_.end(), std::uint32_t{0});
  std::sort(order_.begin(), order_.end(), [&](std::uint32_t a, std::uint32_t b) {
    return ids[a] != ids[b] ? ids[a] < ids[b] : a < b;
  });
}

std::int64_t Ids::Lookup::last(std::int64_t id) const {
  std::size_t low = 0, high = ids_.size();  // the first greater id is in [low, high]
  const auto label_at = [&](std::size_t i) { return order_.empty() ? i : order_[i]; };
  while (low < high) {
    const std::size_t middle = low + (high - low) / 2;
    if (ids_[label_at(middle)] <= id) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (low == 0 || ids_[label_at(low - 1)] != id) return -1;
  return static_cast<std::int64_t>(label_at(low - 1));
}

}  // namespace waterfill
