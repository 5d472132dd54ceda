// EliasFano compared with a std::vector over random sequences of operations.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/random.hpp"
#include "core_check.hpp"
#include "waterfill/index/elias_fano.hpp"

namespace waterfill {
namespace {

using Plain = std::vector<std::uint32_t>;

void compare(const EliasFano& values, const Plain& plain, Random& random) {
  expect(values.size() == plain.size(), "EliasFano: a wrong size");
  std::size_t i = 0;
  values.each([&](std::uint32_t value) {
    expect(i < plain.size() && value == plain[i], "EliasFano: each differs");
    ++i;
  });
  expect(i == plain.size(), "EliasFano: each ends early");
  for (int times = 0; times < 20; ++times) {
    if (!plain.empty()) {
      const std::size_t at = random.next() % plain.size();
      expect(values[at] == plain[at], "EliasFano: [] differs");
    }
    auto value = static_cast<std::uint32_t>(random.next());
    if (!plain.empty() && times % 2 == 0)
      value = plain[random.next() % plain.size()] + static_cast<std::uint32_t>(times / 2) - 5;
    const auto below = std::lower_bound(plain.begin(), plain.end(), value) - plain.begin();
    expect(values.count_below(value) == static_cast<std::size_t>(below),
           "EliasFano: count_below differs");
  }
}

// Increments of up to `step`, occasionally of 1000 * step, until 32 bits are exhausted.
void grow(EliasFano& values, Plain& plain, std::uint64_t step, Random& random) {
  const std::size_t count = random.next() % 300;
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint64_t most = random.next() % 64 == 0 ? 1000 * step : step;
    const std::uint64_t value =
        (plain.empty() ? 0 : plain.back() + std::uint64_t{1}) + random.next() % most;
    if (value > 0xffffffffu) return;
    values.push_back(static_cast<std::uint32_t>(value));
    plain.push_back(static_cast<std::uint32_t>(value));
  }
}

void check_with(unsigned low_bytes, std::uint64_t step, Random& random) {
  EliasFano values(low_bytes);
  Plain plain;
  for (int times = 0; times < 40; ++times) {
    grow(values, plain, step, random);
    compare(values, plain, random);
    if (random.next() % 3 != 0) continue;
    const std::size_t size = random.next() % 8 == 0 ? 0 : random.next() % (plain.size() + 10);
    values.truncate(size);
    plain.resize(std::min(size, plain.size()));
    compare(values, plain, random);
  }
}

}  // namespace

void check_elias_fano() {
  Random random(1);
  expect_throw<std::invalid_argument>([] { EliasFano(3); }, "EliasFano: low_bytes 3");
  for (unsigned low_bytes : {1u, 2u}) {
    for (std::uint64_t step : {1u, 2u, 50u, 300u, 5000u, 70000u, 3000000u}) {
      for (int repeat = 0; repeat < 5; ++repeat) check_with(low_bytes, step, random);
    }
    // One of 65,536 lists of 10,000,000 labels.
    EliasFano few(low_bytes);
    for (std::uint32_t i = 0; i < 152; ++i) few.push_back(i * 65536 + i * 97 % 65536);
    expect(low_bytes == 1 || few.bytes() < 152 * 4, "EliasFano: two low bytes take too much");
  }
  std::printf("EliasFano: agrees with std::vector\n");
}

}  // namespace waterfill
