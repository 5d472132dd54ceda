// Checks of CRC-32C: the published value, all short lengths and alignments, and continuation.
#include "kernel_check.hpp"

namespace waterfill {
namespace {

// Bit by bit, as the definition says.
std::uint32_t by_definition(const std::uint8_t* bytes, std::size_t size, std::uint32_t crc) {
  for (std::size_t i = 0; i < size; ++i) {
    crc ^= bytes[i];
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ ((crc & 1) != 0 ? 0x82f63b78u : 0u);
  }
  return crc;
}

std::vector<std::uint32_t> output(std::uint32_t crc) {
  auto result = blank<std::uint32_t>(1);
  result[0] = crc;
  return result;
}

}  // namespace

void check_crc32c(const Kernels& scalar, const Kernels& own) {
  Tally tally(own.isa, "crc32c");
  tally.compare(output(~0xe3069283u), output(own.crc32c("123456789", 9, ~0u)), {{"published", 9}});
  Inputs inputs(8);
  for (std::size_t size = 0; size < 300; ++size) {
    for (std::size_t start = 0; start < 9; ++start) {
      const auto bytes = inputs.integers<std::uint8_t>(start + size, 0, 255);
      const auto crc = static_cast<std::uint32_t>(inputs.integer(0, 0xffffffff));
      const std::uint8_t* data = bytes.data() + start;
      const auto expected = output(by_definition(data, size, crc));
      tally.compare(expected, output(scalar.crc32c(data, size, crc)), {{"scalar", size}});
      tally.compare(expected, output(own.crc32c(data, size, crc)),
                    {{"size", size}, {"start", start}});
      const std::size_t part = size / 3;
      const std::uint32_t first = own.crc32c(data, part, crc);
      tally.compare(expected, output(own.crc32c(data + part, size - part, first)),
                    {{"part", part}});
    }
  }
  tally.report();
}

}  // namespace waterfill
