#include "waterfill/index/selector.hpp"

#include <algorithm>

#include "waterfill/core/types.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kByteBits = 8;

bool test_byte(const std::vector<std::uint8_t>& bytes, std::uint64_t i) {
  return i / kByteBits < bytes.size() && (bytes[i / kByteBits] >> i % kByteBits & 1) != 0;
}

void set_range(Bits& bits, std::size_t first, std::size_t end) {
  for (; first < end && first % kBitsPerWord != 0; ++first) set_bit(bits, first);
  for (; first + kBitsPerWord <= end; first += kBitsPerWord) {
    bits[first / kBitsPerWord] = ~std::uint64_t{0};
  }
  for (; first < end; ++first) set_bit(bits, first);
}

}  // namespace

void Selector::range(std::int64_t first, std::int64_t end) {
  steps_.push_back({Kind::range, first, end, {}, {}});
}

void Selector::set(std::vector<std::int64_t> ascending) {
  require(std::is_sorted(ascending.begin(), ascending.end()),
          "selector: the ids of a set must ascend");
  Step step{Kind::set, 0, 0, std::move(ascending), {}};
  // For dense ids a bitmap is faster than a binary search.
  constexpr std::uint64_t kSpread = 1024;
  if (!step.ids.empty()) {
    const auto span =
        static_cast<std::uint64_t>(step.ids.back()) - static_cast<std::uint64_t>(step.ids.front());
    if (span / kSpread <= step.ids.size()) {
      step.first = step.ids.front();
      step.bytes.resize(span / kByteBits + 1, 0);
      for (const std::int64_t id : step.ids) {
        const auto at = static_cast<std::uint64_t>(id) - static_cast<std::uint64_t>(step.first);
        step.bytes[at / kByteBits] |= static_cast<std::uint8_t>(1u << at % kByteBits);
      }
    }
  }
  steps_.push_back(std::move(step));
}

void Selector::bitmap(std::vector<std::uint8_t> bytes) {
  steps_.push_back({Kind::bitmap, 0, 0, {}, std::move(bytes)});
}

void Selector::all() {
  steps_.push_back({Kind::all, 0, 0, {}, {}});
}
void Selector::logical_not() {
  steps_.push_back({Kind::logical_not, 0, 0, {}, {}});
}
void Selector::logical_and() {
  steps_.push_back({Kind::logical_and, 0, 0, {}, {}});
}
void Selector::logical_or() {
  steps_.push_back({Kind::logical_or, 0, 0, {}, {}});
}
void Selector::logical_xor() {
  steps_.push_back({Kind::logical_xor, 0, 0, {}, {}});
}

std::size_t Selector::operands(Kind kind) {
  switch (kind) {
    case Kind::logical_not:
      return 1;
    case Kind::logical_and:
    case Kind::logical_or:
    case Kind::logical_xor:
      return 2;
    default:
      return 0;
  }
}

void Selector::check() const {
  std::size_t depth = 0;
  for (const Step& step : steps_) {
    require(depth >= operands(step.kind), "selector: an operator lacks an operand");
    depth = depth - operands(step.kind) + 1;
  }
  require(depth == 1, "selector: a program must leave one set of ids");
}

template <class Operand>
Bits Selector::evaluate(std::size_t n, Operand operand) const {
  std::vector<Bits> stack;
  for (const Step& step : steps_) {
    if (operands(step.kind) == 0) {
      operand(step, stack.emplace_back(words_for(n), 0));
      continue;
    }
    Bits right;
    if (operands(step.kind) == 2) {
      right = std::move(stack.back());
      stack.pop_back();
    }
    Bits& left = stack.back();
    for (std::size_t w = 0; w < left.size(); ++w) {
      switch (step.kind) {
        case Kind::logical_not:
          left[w] = ~left[w];
          break;
        case Kind::logical_and:
          left[w] &= right[w];
          break;
        case Kind::logical_or:
          left[w] |= right[w];
          break;
        default:
          left[w] ^= right[w];
      }
    }
  }
  Bits result = std::move(stack.back());
  if (n % kBitsPerWord != 0) result.back() &= ~(~std::uint64_t{0} << n % kBitsPerWord);
  return result;
}

void Selector::fill_labels(const Step& step, std::size_t n, Bits& bits) {
  const auto end = static_cast<std::int64_t>(n);
  switch (step.kind) {
    case Kind::range:
      set_range(bits, static_cast<std::size_t>(std::clamp<std::int64_t>(step.first, 0, end)),
                static_cast<std::size_t>(std::clamp<std::int64_t>(step.end, 0, end)));
      break;
    case Kind::set:
      for (auto id = std::lower_bound(step.ids.begin(), step.ids.end(), 0);
           id != step.ids.end() && *id < end; ++id) {
        set_bit(bits, static_cast<std::size_t>(*id));
      }
      break;
    case Kind::bitmap:
      for (std::size_t b = 0; b < std::min(step.bytes.size(), bits.size() * 8); ++b) {
        bits[b / 8] |= std::uint64_t{step.bytes[b]} << b % 8 * kByteBits;
      }
      break;
    default:
      set_range(bits, 0, n);
  }
}

bool Selector::contains(const Step& step, std::int64_t id) {
  const auto offset = static_cast<std::uint64_t>(id) - static_cast<std::uint64_t>(step.first);
  switch (step.kind) {
    case Kind::range:
      return id >= step.first && id < step.end;
    case Kind::set:
      return step.bytes.empty() ? std::binary_search(step.ids.begin(), step.ids.end(), id)
                                : test_byte(step.bytes, offset);
    case Kind::bitmap:
      return test_byte(step.bytes, offset);
    default:
      return true;
  }
}

Bits Selector::of_labels(std::size_t n) const {
  return evaluate(n, [&](const Step& step, Bits& bits) { fill_labels(step, n, bits); });
}

Bits Selector::of(const std::int64_t* ids, std::size_t n) const {
  return evaluate(n, [&](const Step& step, Bits& bits) {
    for (std::size_t i = 0; i < n; ++i) {
      bits[i / kBitsPerWord] |= std::uint64_t{contains(step, ids[i])} << i % kBitsPerWord;
    }
  });
}

Bits Selector::of(const Ids& ids) const {
  if (!ids.is_explicit()) return of_labels(ids.size());
  return evaluate(ids.size(), [&](const Step& step, Bits& bits) {
    for (std::size_t i = 0; i < ids.size(); ++i) {
      bits[i / kBitsPerWord] |= std::uint64_t{contains(step, ids[i])} << i % kBitsPerWord;
    }
  });
}

}  // namespace waterfill
