#include "waterfill/index/ids.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>

#include "waterfill/core/types.hpp"

namespace waterfill {
namespace {

constexpr std::int64_t kLargestId = std::numeric_limits<std::int64_t>::max();

}  // namespace

void Ids::keep() {
  if (explicit_) return;
  values_.resize(size_ - mapped_);
  std::iota(values_.begin(), values_.end(), static_cast<std::int64_t>(mapped_));
  explicit_ = true;
}

void Ids::raise_next(std::int64_t next) {
  if (next > static_cast<std::int64_t>(size_)) keep();
  next_ = std::max(next_, next);
}

void Ids::attach(const IdPart& part) {
  if (size_ != mapped_) throw std::logic_error("a part cannot follow own ids");
  const bool labels = part.values == nullptr && part.first == static_cast<std::int64_t>(mapped_);
  parts_.push_back({part, mapped_});
  mapped_ += part.size;
  size_ = mapped_;
  next_ = std::max({next_, part.next, static_cast<std::int64_t>(size_)});
  // A label that was the id of a removed vector is not given again.
  explicit_ = explicit_ || !labels || next_ > static_cast<std::int64_t>(size_);
}

std::size_t Ids::file_bytes() const {
  const auto of = [](std::size_t n, bool ascend) {
    return n * (sizeof(std::int64_t) + (ascend ? 0 : sizeof(std::uint32_t)));
  };
  std::size_t sum = of(values_.size(), std::is_sorted(values_.begin(), values_.end()));
  for (const Part& part : parts_) {
    if (part.ids.values != nullptr) sum += of(part.ids.size, part.ids.order == nullptr);
  }
  return sum;
}

std::int64_t Ids::of_part(std::size_t label) const {
  std::size_t p = parts_.size() - 1;
  while (parts_[p].start > label) --p;
  const IdPart& ids = parts_[p].ids;
  const std::size_t i = label - parts_[p].start;
  return ids.values != nullptr ? ids.values[i] : ids.first + static_cast<std::int64_t>(i);
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
    const std::size_t total = values_.size() + n;
    // Grows by an eighth: doubling would waste up to half of the memory.
    if (total > values_.capacity()) values_.reserve(total + values_.size() / 8);
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
    values_.resize(size_ - mapped_);
  } else {
    values_ = {};
  }
}

void Ids::Lookup::update() {
  const std::vector<std::int64_t>& values = ids_.values_;
  if (!ids_.explicit_ || known_ == values.size()) return;
  const auto old = static_cast<std::ptrdiff_t>(known_);
  const auto from = values.begin() + std::max<std::ptrdiff_t>(old - 1, 0);
  if (order_.empty() && std::is_sorted(from, values.end())) {
    known_ = values.size();
    return;
  }
  const auto by_id = [&](std::uint32_t a, std::uint32_t b) {
    return values[a] != values[b] ? values[a] < values[b] : a < b;
  };
  const std::size_t sorted = order_.empty() ? static_cast<std::size_t>(old) : order_.size();
  const auto first = static_cast<std::ptrdiff_t>(order_.size());
  order_.resize(values.size());
  known_ = values.size();
  std::iota(order_.begin() + first, order_.end(), static_cast<std::uint32_t>(first));
  const auto middle = order_.begin() + static_cast<std::ptrdiff_t>(sorted);
  std::sort(middle, order_.end(), by_id);
  std::inplace_merge(order_.begin(), middle, order_.end(), by_id);
}

std::size_t Ids::Lookup::label_at(std::size_t run, std::size_t i) const {
  if (run == ids_.parts_.size()) return ids_.mapped_ + (order_.empty() ? i : order_[i]);
  const Part& part = ids_.parts_[run];
  if (part.ids.order == nullptr) return part.start + i;
  return part.start + std::min<std::size_t>(part.ids.order[i], part.ids.size - 1);  // if damaged
}

// The number of ids of a run that are at most `id`.
std::size_t Ids::Lookup::upper_bound(std::size_t run, std::int64_t id) const {
  const bool own = run == ids_.parts_.size();
  std::size_t low = 0, high = own ? ids_.size_ - ids_.mapped_ : ids_.parts_[run].ids.size;
  while (low < high) {
    const std::size_t middle = low + (high - low) / 2;
    if (ids_[label_at(run, middle)] <= id) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

}  // namespace waterfill
