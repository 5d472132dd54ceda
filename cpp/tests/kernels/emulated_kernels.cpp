// The CUDA kernels as one more instruction set, over the emulation of the grid: kernel_check
// compares them with the scalar kernels on the same cases as the others.
#include "emulated_kernels.hpp"

#include <algorithm>
#include <bit>
#include <vector>

#include "cuda_emulation.hpp"

#include "nearest.cu"
#include "rotate.cu"
#include "scan_few.cu"
#include "scan_many.cu"

namespace waterfill {
namespace {

// Runs a kernel whose arguments have exactly the types of its parameters.
template <class... Args>
void run(void (*kernel)(Args...), std::size_t x, std::size_t y, unsigned threads,
         std::size_t shared, std::type_identity_t<Args>... arguments) {
  emulation::run({static_cast<unsigned>(x), static_cast<unsigned>(y), 1}, threads, shared,
                 [&] { kernel(arguments...); });
}

constexpr std::size_t kRotationTile = 64;

std::size_t tiles(std::size_t n) {
  return (n + kRotationTile - 1) / kRotationTile;
}

const int* words(const void* values) {
  return static_cast<const int*>(values);
}

void rotate_int16(const std::int16_t* x, std::size_t rows, std::size_t d, const std::int16_t* w,
                  const float* scales, std::size_t panels, std::int16_t* y) {
  run(&::rotate_int16, tiles(rows), tiles(panels * kPanel), 256, 0, words(x),
      static_cast<unsigned>(rows), static_cast<unsigned>(d / 2), words(w), scales,
      static_cast<unsigned>(panels), y);
}

void rotate_int8(const std::uint8_t* x, std::size_t rows, std::size_t d, const std::int8_t* w,
                 const std::int32_t* offsets, const float* scales, const float* row_scales,
                 std::size_t panels, std::int16_t* y) {
  run(&::rotate_int8, tiles(rows), tiles(panels * kPanel), 256, 0, words(x),
      static_cast<unsigned>(rows), static_cast<unsigned>(d / 4), words(w), offsets, scales,
      row_scales, static_cast<unsigned>(panels), y);
}

void nearest(const std::int16_t* y, std::size_t rows, std::size_t stride, std::size_t width,
             const std::int16_t* book, const std::int32_t* half_norms, std::uint8_t* codes,
             std::size_t code_stride) {
  constexpr unsigned kThreads = 32, kZero = 0;
  const unsigned pairs = static_cast<unsigned>(width / 2);
  run(&nearest_centroids, (rows + 2 * kThreads - 1) / (2 * kThreads), 1, kThreads, 0, y,
      static_cast<unsigned>(rows), static_cast<unsigned>(stride), &kZero, &kZero, &pairs, &kZero,
      words(book), half_norms, codes, static_cast<unsigned>(code_stride));
}

// An item of at most kQueries queries. Sums as scores: a vector's key has its score and its
// position.
void scan_item(const std::uint8_t* planes, std::size_t blocks, std::size_t block_stride,
               const std::uint32_t* pairs, std::size_t count, const std::uint8_t* const* luts,
               std::size_t queries, std::uint16_t* sums) {
  std::size_t held = 0;  // bytes of a block that are read
  for (std::size_t i = 0; i < count; ++i) {
    held = std::max<std::size_t>(held, (pairs[i] + std::size_t{1}) * kPairBytes);
  }
  const std::size_t vectors = blocks * kBlock, lut_bytes = count * 2 * kCells;
  std::vector<std::uint8_t> high(blocks * held), tables(queries * lut_bytes);
  for (std::size_t b = 0; b < blocks; ++b) {
    std::copy_n(planes + b * block_stride, held, high.data() + b * held);
  }
  Item item{0, static_cast<unsigned>(blocks), 0, {-1, -1, -1, -1}, {}};
  for (std::size_t q = 0; q < queries; ++q) {
    std::copy_n(luts[q], lut_bytes, tables.data() + q * lut_bytes);
    item.queries[q] = static_cast<int>(q);
  }
  const std::vector<std::uint8_t> scale(vectors, 0), sizes(blocks, kBlock);
  const std::vector<float> units{0, 1, 1, 0, 1, 1, 0, 1, 1, 0, 1, 1};  // a score is the sum
  const float one = 1;
  std::vector<unsigned> counts(queries, 0);
  std::vector<std::uint64_t> thresholds(queries, 0), keys(queries * vectors);
  const std::size_t shared = (std::min<std::size_t>(count, 256) + 3) / 4 * 512;
  run(queries <= 2 ? &scan_few : &scan_many, 1, 1, 128, shared, high.data(), scale.data(), nullptr,
      sizes.data(), nullptr, 0u, reinterpret_cast<const unsigned*>(&item), pairs,
      static_cast<unsigned>(count), static_cast<unsigned>(held), tables.data(), units.data(), 0u,
      &one, nullptr, 0.0f, 0.0f, 0.0f, nullptr, thresholds.data(), keys.data(), counts.data(),
      static_cast<unsigned>(vectors));
  for (std::size_t i = 0; i < queries * vectors; ++i) {
    const auto position = ~static_cast<std::uint32_t>(keys[i]);
    const auto bits = static_cast<std::uint32_t>(keys[i] >> 32) & 0x7fffffffu;
    sums[i / vectors * vectors + position] = static_cast<std::uint16_t>(std::bit_cast<float>(bits));
  }
}

void scan(const std::uint8_t* planes, std::size_t blocks, std::size_t block_stride,
          const std::uint32_t* pairs, std::size_t count, const std::uint8_t* const* luts,
          std::size_t queries, std::uint16_t* sums) {
  if (blocks == 0) return;
  for (std::size_t q = 0; q < queries; q += kQueries) {
    scan_item(planes, blocks, block_stride, pairs, count, luts + q,
              std::min<std::size_t>(kQueries, queries - q), sums + q * blocks * kBlock);
  }
}

}  // namespace

const Kernels& emulated_kernels() {
  static const Kernels kernels = [] {
    Kernels made = scalar_kernels();
    made.isa = "cuda";
    made.rotate_int16 = rotate_int16;
    made.rotate_int8 = rotate_int8;
    made.nearest = nearest;
    made.scan = scan;
    return made;
  }();
  return kernels;
}

}  // namespace waterfill
