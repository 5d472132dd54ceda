// kernel_check: compares every instruction set with the scalar kernels, bit for bit.
//
//     kernel_check [instruction set]...
//
// checks the named sets, or all that the machine supports; a named set that it does not support is
// an error. Needs neither Python nor a test framework, so it also runs under an emulator. Prints
// one line per set and kernel; at the first difference it prints a message and exits with 1.
#include <algorithm>
#include <array>
#include <exception>

#include "dispatch.hpp"
#include "emulated_kernels.hpp"
#include "kernel_check.hpp"

namespace waterfill {
namespace {

void check_project(const Kernels& scalar, const Kernels& own) {
  Tally tally(own.isa, "project");
  Inputs inputs(1);
  for (std::size_t rows : kRowCounts) {
    for (std::size_t d : {1u, 2u, 3u, 5u, 8u, 33u, 127u}) {
      // Rows that come alone are multiplied with four panels at a time.
      for (std::size_t panels : {1u, 2u, 3u, 4u, 9u}) {
        const auto x = inputs.reals<float>(rows * d);
        const auto w = inputs.reals<float>(panels * d * kPanel);
        auto expected = blank<float>(rows * panels * kPanel), found = expected;
        scalar.project(x.data(), rows, d, w.data(), panels, expected.data());
        own.project(x.data(), rows, d, w.data(), panels, found.data());
        tally.compare(expected, found, {{"rows", rows}, {"d", d}, {"panels", panels}});
      }
    }
  }
  tally.report();
}

void check_table(const Kernels& scalar, const Kernels& own) {
  Tally tally(own.isa, "table");
  Inputs inputs(4);
  for (std::size_t width = 0; width <= 64; ++width) {
    const auto q = inputs.reals<float>(width), book = inputs.reals<float>(width * kCentroids);
    auto expected = blank<float>(kCentroids), found = expected;
    scalar.table(q.data(), width, book.data(), expected.data());
    own.table(q.data(), width, book.data(), found.data());
    tally.compare(expected, found, {{"width", width}});
  }
  tally.report();
}

void check_scan(const Kernels& scalar, const Kernels& own) {
  enum Kind : std::size_t { kInOrder, kRepeated, kAllLargest, kKinds };
  Tally tally(own.isa, "scan");
  Inputs inputs(5);
  for (std::size_t blocks : kBlockCounts) {
    // 512 entries of 127 nearly fill 16 bits, and so do 520 of 126.
    for (std::size_t count : {4u, 8u, 12u, 24u, 48u, 256u, 260u}) {
      const int most = count > 256 ? kMaxEntry - 1 : kMaxEntry;
      for (std::size_t queries = 1; queries <= kScanQueries; ++queries) {
        for (std::size_t kind = 0; kind < kKinds; ++kind) {
          const std::size_t held = kind == kRepeated ? 5 : count;  // pairs of a block
          const std::size_t stride =
              held * kPairBytes + static_cast<std::size_t>(inputs.integer(0, 40));
          const std::size_t bytes = blocks == 0 ? 0 : (blocks - 1) * stride + held * kPairBytes;
          const auto planes = inputs.integers<std::uint8_t>(bytes, 0, 255);
          auto pairs = inputs.integers<std::uint32_t>(count, 0, static_cast<int>(held) - 1);
          if (kind == kInOrder) {
            for (std::size_t i = 0; i < count; ++i) pairs[i] = static_cast<std::uint32_t>(i);
          }
          const auto luts = inputs.integers<std::uint8_t>(queries * count * 2 * kCells,
                                                          kind == kAllLargest ? most : 0, most);
          std::array<const std::uint8_t*, kScanQueries> tables{};
          for (std::size_t q = 0; q < queries; ++q) {  // not in order
            tables[q] = luts.data() + (queries - 1 - q) * count * 2 * kCells;
          }
          auto expected = blank<std::uint16_t>(queries * blocks * kBlock), found = expected;
          scalar.scan(planes.data(), blocks, stride, pairs.data(), count, tables.data(), queries,
                      expected.data());
          own.scan(planes.data(), blocks, stride, pairs.data(), count, tables.data(), queries,
                   found.data());
          tally.compare(expected, found,
                        {{"blocks", blocks},
                         {"stride", stride},
                         {"count", count},
                         {"queries", queries},
                         {"kind", kind}});
        }
      }
    }
  }
  tally.report();
}

void check_select(const Kernels& scalar, const Kernels& own) {
  enum Kind : std::size_t { kRandom, kNear, kZero, kMost, kBoth, kKinds };
  Tally tally(own.isa, "select");
  Inputs inputs(6);
  for (std::size_t blocks : kBlockCounts) {
    for (std::size_t kind = 0; kind < kKinds; ++kind) {
      for (std::size_t times = 0; times < 20; ++times) {
        const std::size_t n = blocks * kBlock;
        const auto scale = inputs.integers<std::uint8_t>(n, 0, 255);
        auto sums = inputs.integers<std::uint16_t>(n, 0, 65535);
        auto limits = inputs.integers<std::uint16_t>(kLimits, 0, 65535);
        if (kind == kZero || kind == kMost) limits.assign(kLimits, kind == kZero ? 0 : 65535);
        if (kind == kBoth) {
          for (auto& limit : limits) limit = static_cast<std::uint16_t>(-inputs.integer(0, 1));
        }
        if (kind != kRandom) {  // each sum at its limit or next to it, wrapping
          for (std::size_t v = 0; v < n; ++v) {
            sums[v] = static_cast<std::uint16_t>(limits[scale[v] / 16] + inputs.integer(-1, 1));
          }
        }
        auto expected = blank<std::uint32_t>(blocks), found = expected;
        scalar.select(sums.data(), scale.data(), blocks, limits.data(), expected.data());
        own.select(sums.data(), scale.data(), blocks, limits.data(), found.data());
        tally.compare(expected, found, {{"blocks", blocks}, {"kind", kind}, {"times", times}});
      }
    }
  }
  tally.report();
}

void check_gram(const Kernels& scalar, const Kernels& own) {
  Tally tally(own.isa, "gram");
  Inputs inputs(7);
  for (std::size_t rows : kRowCounts) {
    for (std::size_t d : {4u, 8u, 12u, 20u}) {
      for (std::size_t first = 0; first <= d; ++first) {
        for (std::size_t last = first; last <= d; ++last) {
          const auto a = inputs.reals<double>(rows * d), b = inputs.reals<double>(rows * d);
          auto expected = inputs.reals<double>(d * d + kSlack), found = expected;
          scalar.gram(a.data(), b.data(), rows, d, first, last, expected.data());
          own.gram(a.data(), b.data(), rows, d, first, last, found.data());
          tally.compare(expected, found,
                        {{"rows", rows}, {"d", d}, {"first", first}, {"last", last}});
        }
      }
    }
  }
  tally.report();
}

void check(const std::string& isa) {
  select_isa(isa);
  const Kernels& scalar = scalar_kernels();
  const Kernels& own = kernels();
  for (auto* part :
       {check_project, check_residual, check_rotate_int16, check_rotate_int8, check_nearest,
        check_table, check_scan, check_select, check_gram, check_crc32c, check_row_scores,
        check_graph_scores, check_coarse_scores, check_query_tables, check_code_sums}) {
    part(scalar, own);
    std::fflush(stdout);
  }
}

// The CUDA kernels, where the grid can be emulated.
void check_emulated() {
#if defined(WATERFILL_EMULATES_CUDA)
  const Kernels &scalar = scalar_kernels(), &own = emulated_kernels();
  for (auto* part : {check_rotate_int16, check_rotate_int8, check_nearest, check_scan}) {
    part(scalar, own);
    std::fflush(stdout);
  }
#endif
}

}  // namespace
}  // namespace waterfill

int main(int count, char** arguments) {
  try {
    std::vector<std::string> isas(arguments + 1, arguments + count);
    if (isas.empty()) isas = waterfill::available_isas();
    waterfill::check_float16();
    for (const std::string& isa : isas) waterfill::check(isa);
    waterfill::check_emulated();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "kernel_check: %s\n", error.what());
    return 1;
  }
}
