// Reservoir compared with sorting all candidates.
#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "core/random.hpp"
#include "core_check.hpp"
#include "search/reservoir.hpp"

namespace waterfill {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Few distinct scores, so that many are equal, in any order.
Candidates stream(std::size_t n, std::uint64_t scores, Random& random) {
  Candidates all;
  for (std::size_t i = 0; i < n; ++i) {
    all.emplace_back(static_cast<float>(random.next() % scores) - 3, static_cast<std::uint32_t>(i));
  }
  for (std::size_t i = n; i > 1; --i) std::swap(all[i - 1], all[random.next() % i]);
  return all;
}

void push_all(const Candidates& all, Reservoir& best) {
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (i % Reservoir::kBurst == 0) best.trim();
    best.push(all[i].score(), all[i].position());
  }
  best.trim();
}

bool equal(Candidates a, Candidates b) {
  std::sort(a.begin(), a.end(), std::greater<>());
  std::sort(b.begin(), b.end(), std::greater<>());
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](Candidate one, Candidate other) {
    return one.score() == other.score() && one.position() == other.position();
  });
}

void check_against_sort(std::size_t n, std::size_t capacity, Random& random) {
  const Candidates all = stream(n, 1 + random.next() % 50, random);
  Candidates sorted(all);
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  sorted.resize(std::min(n, capacity));

  Reservoir best(capacity);
  push_all(all, best);
  expect(best.size() == sorted.size(), "Reservoir: a wrong size");
  expect(equal(best.take(), sorted), "Reservoir: not the best");

  // Two halves, one of which starts from a threshold that enough candidates reach.
  const auto half = all.begin() + static_cast<std::ptrdiff_t>(n / 2);
  Reservoir first(capacity);
  push_all({all.begin(), half}, first);
  first.raise_threshold();
  Reservoir second(capacity, first.threshold());
  push_all({half, all.end()}, second);
  first.merge(second);
  expect(equal(first.take(), sorted), "Reservoir: not the best of a merge");
}

// A threshold from a part of the stream: what remains are all candidates that reach it.
void check_capacity(std::size_t n, std::size_t capacity, Random& random) {
  const Candidates all = stream(n, 1000, random);
  Reservoir best(std::max<std::size_t>(1, capacity / 8));
  const std::size_t part = n / 4;
  push_all({all.begin(), all.begin() + static_cast<std::ptrdiff_t>(part)}, best);
  best.raise_threshold();
  const float threshold = best.threshold();
  best.set_capacity(capacity);
  push_all({all.begin() + static_cast<std::ptrdiff_t>(part), all.end()}, best);
  best.raise_threshold();
  Candidates sorted(all);
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  sorted.resize(std::min(n, capacity));
  const bool nothing_dropped = threshold == Reservoir::kLowest;
  if (nothing_dropped || best.threshold() > threshold) {
    expect(equal(best.take(), sorted), "Reservoir: not the best after a sample");
  } else {
    expect(best.size() < sorted.size() || sorted.back().score() <= threshold,
           "Reservoir: a threshold is too low");
  }
}

}  // namespace

void check_reservoir() {
  Random random(5);
  for (int times = 0; times < 300; ++times) {
    const std::size_t n = random.next() % 2000, capacity = 1 + random.next() % 200;
    check_against_sort(n, capacity, random);
    check_capacity(n, capacity, random);
  }
  Reservoir best(3);
  const float scores[] = {-kInfinity, std::numeric_limits<float>::quiet_NaN(), 1, kInfinity};
  for (std::uint32_t i = 0; i < 4; ++i) best.push(scores[i], i);
  expect(best.size() == 2, "Reservoir: kept a score that is none");
}

}  // namespace waterfill
