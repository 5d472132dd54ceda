// Checks of refine row scores: every row kind, any alignment, no reads beyond a row.
#include <cmath>

#include "float16.hpp"
#include "kernel_check.hpp"

namespace waterfill {
namespace {

// The bytes of a row at `offset`, exactly to the end of the vector.
std::vector<std::uint8_t> row_of(Inputs& inputs, std::size_t kind, std::size_t d,
                                 std::size_t offset) {
  const std::size_t sizes[] = {d * sizeof(float), d * sizeof(std::uint16_t), d + kRowHead};
  std::vector<std::uint8_t> row(offset + sizes[kind]);
  std::uint8_t* bytes = row.data() + offset;
  if (kind == 0) {
    std::memcpy(bytes, inputs.reals<float>(d).data(), sizes[kind]);
  } else if (kind == 1) {  // any finite float16
    auto halves = inputs.integers<std::uint16_t>(d, 0, 0xffff);
    for (auto& half : halves) half = (half & 0x7c00) == 0x7c00 ? half & 0x8fff : half;
    std::memcpy(bytes, halves.data(), sizes[kind]);
  } else {
    std::memcpy(bytes, inputs.reals<float>(2).data(), kRowHead);
    std::memcpy(bytes + kRowHead, inputs.integers<std::int8_t>(d, -128, 127).data(), d);
  }
  return row;
}

}  // namespace

void check_row_scores(const Kernels& scalar, const Kernels& own) {
  const char* const names[] = {"product float32",  "product float16",  "product int8",
                               "distance float32", "distance float16", "distance int8"};
  const auto table = [](const Kernels& kernels) {
    const auto& [product, distance] = kernels.rows;
    return std::vector{product.float32,  product.float16,  product.int8,
                       distance.float32, distance.float16, distance.int8};
  };
  for (std::size_t which = 0; which < 6; ++which) {
    Tally tally(own.isa, names[which]);
    Inputs inputs(10 + which);
    const auto check = [&](std::size_t d) {
      for (std::size_t offset = 0; offset < 4; ++offset) {
        const auto query = inputs.reals<float>(d);
        const auto row = row_of(inputs, which % 3, d, offset);
        auto expected = blank<float>(1), found = expected;
        expected[0] = table(scalar)[which](query.data(), row.data() + offset, d);
        found[0] = table(own)[which](query.data(), row.data() + offset, d);
        tally.compare(expected, found, {{"d", d}, {"offset", offset}});
      }
    };
    for (std::size_t d = 1; d <= 130; ++d) check(d);
    for (std::size_t d : {300u, 384u, 1001u, 4096u}) check(d);
    tally.report();
  }
}

void check_float16() {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float value = from_float16(half);
    if ((half & 0x7c00) == 0x7c00) {  // an infinity or NaN
      if (std::isfinite(value))
        throw std::runtime_error("a float16 that is not finite becomes finite");
      continue;
    }
    // The value itself, the midpoint to the next value, and the float32 neighbors of the midpoint.
    const float next = (bits & 0x7fff) == 0x7bff
                           ? std::copysign(65536.0f, value)
                           : from_float16(static_cast<std::uint16_t>(half + 1));
    const float middle = value + (next - value) / 2;
    const auto even = static_cast<std::uint16_t>(half + half % 2);
    if (to_float16(value) != half || to_float16(middle) != even ||
        to_float16(std::nextafter(middle, value)) != half ||
        to_float16(std::nextafter(middle, next)) != half + 1) {
      throw std::runtime_error("float16 " + std::to_string(bits) + " is rounded incorrectly");
    }
  }
  std::printf("float16: all 65536 values are converted both ways\n");
}

}  // namespace waterfill
