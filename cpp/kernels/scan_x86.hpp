// The scan of blocks with the registers of one x86 instruction set. Only for the files of scans:
// everything here has internal linkage.
//
// The nibbles of a block are separated, and then index the tables of a query. A pass scans a block
// for a few queries, whose sums fit the registers. For more queries, the nibbles are separated
// once, into a buffer that fits the first-level cache, and all passes read them there.
#pragma once

#include <immintrin.h>

#include "kernels.hpp"

namespace waterfill {
namespace {

// For longer tables, nibbles are separated by each pass.
constexpr std::size_t kMostPairs = 256;

#ifdef __AVX512BW__
// The registers of AVX-512: four groups of a block, one in each 128-bit lane.
struct Registers512 {
  using Register = __m512i;
  static constexpr std::size_t kPairs = 2;        // pairs of groups in a register
  static constexpr std::size_t kPassQueries = 4;  // whose sums stay in registers

  static Register load(const std::uint8_t* bytes) { return _mm512_loadu_si512(bytes); }

  static Register load_pairs(const std::uint8_t* block, const std::uint32_t* pairs) {
    const auto* first = reinterpret_cast<const __m256i*>(block + pairs[0] * kPairBytes);
    const auto* second = reinterpret_cast<const __m256i*>(block + pairs[1] * kPairBytes);
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256(first)),
                              _mm256_loadu_si256(second), 1);
  }

  static void store(std::uint8_t* bytes, Register value) { _mm512_store_si512(bytes, value); }
};
#endif

// The nibbles of a register of groups: of a block's vectors 0 to 15, and 16 to 31.
template <class Isa>
struct Nibbles {
  typename Isa::Register low, high;
};

// The nibbles of a block, separated as they are read.
template <class Isa>
class Codes {
 public:
  Codes(const std::uint8_t* block, std::size_t block_stride, const std::uint32_t* pairs,
        std::size_t count)
      : block_(block), pairs_(pairs), ahead_(block + kPrefetchBlocks * block_stride) {
    const std::size_t share = block_stride * 2 * Isa::kPairs / count;
    share_ = share < kMostAhead ? share : kMostAhead;
  }

  // Prefetches the block kPrefetchBlocks ahead, a share of it with every two registers. It fetches
  // all lines, including those of skipped pairs: memory is fastest without gaps.
  void prefetch() {
    for (std::size_t line = 0; line < share_; line += 64) {
      _mm_prefetch(reinterpret_cast<const char*>(ahead_ + line), _MM_HINT_T0);
    }
    ahead_ += share_;
  }

  Nibbles<Isa> next() {
    const auto groups = Isa::load_pairs(block_, pairs_);
    pairs_ += Isa::kPairs;
    return separate_(groups);
  }

 private:
  const std::uint8_t* block_;
  const std::uint32_t* pairs_;
  const std::uint8_t* ahead_;
  std::size_t share_;
  typename Isa::Separator separate_;
};

// Nibbles that were separated before.
template <class Isa>
class Separated {
 public:
  explicit Separated(const std::uint8_t* nibbles) : nibbles_(nibbles) {}

  void prefetch() {}

  Nibbles<Isa> next() {
    constexpr std::size_t kBytes = sizeof(typename Isa::Register);
    const Nibbles<Isa> own{Isa::load(nibbles_), Isa::load(nibbles_ + kBytes)};
    nibbles_ += 2 * kBytes;
    return own;
  }

 private:
  const std::uint8_t* nibbles_;
};

template <class Isa>
void separate(Codes<Isa> codes, std::size_t count, std::uint8_t* nibbles) {
  constexpr std::size_t kBytes = sizeof(typename Isa::Register);
  for (std::size_t i = 0; i < count; i += 2 * Isa::kPairs) {
    codes.prefetch();
    for (int half = 0; half < 2; ++half) {
      const Nibbles<Isa> own = codes.next();
      Isa::store(nibbles, own.low);
      Isa::store(nibbles + kBytes, own.high);
      nibbles += 2 * kBytes;
    }
  }
}

// The sums of a block for kQueries queries. Entries of two registers are added as bytes before they
// are widened. Loops over queries are unrolled before their sums are allocated to registers.
template <class Isa, std::size_t kQueries, class Source>
void sum_block(Source nibbles, std::size_t count, const std::uint8_t* const* luts,
               std::uint16_t* sums, std::size_t sum_stride) {
  constexpr std::size_t kBytes = sizeof(typename Isa::Register);
  typename Isa::Sums own[kQueries];
#pragma GCC unroll 4
  for (std::size_t q = 0; q < kQueries; ++q) own[q].clear();
  for (std::size_t i = 0; i < count; i += 2 * Isa::kPairs) {
    nibbles.prefetch();
    const Nibbles<Isa> first = nibbles.next(), second = nibbles.next();
#pragma GCC unroll 4
    for (std::size_t q = 0; q < kQueries; ++q) {
      const std::uint8_t* lut = luts[q] + i * 2 * kCells;
      own[q].add(Isa::load(lut), first, Isa::load(lut + kBytes), second);
    }
  }
#pragma GCC unroll 4
  for (std::size_t q = 0; q < kQueries; ++q) own[q].store(sums + q * sum_stride);
}

// The same for the first of the queries, at most kMost.
template <class Isa, class Source, std::size_t kMost = Isa::kPassQueries>
void sum_pass(Source nibbles, std::size_t count, const std::uint8_t* const* luts,
              std::size_t queries, std::uint16_t* sums, std::size_t sum_stride) {
  if constexpr (kMost > 1) {
    if (queries < kMost) {
      return sum_pass<Isa, Source, kMost - 1>(nibbles, count, luts, queries, sums, sum_stride);
    }
  }
  sum_block<Isa, kMost>(nibbles, count, luts, sums, sum_stride);
}

// Kernels::scan.
template <class Isa>
void scan_by(const std::uint8_t* planes, std::size_t blocks, std::size_t block_stride,
             const std::uint32_t* pairs, std::size_t count, const std::uint8_t* const* luts,
             std::size_t queries, std::uint16_t* sums) {
  constexpr std::size_t kPass = Isa::kPassQueries;
  const std::size_t sum_stride = blocks * kBlock;
  const auto codes = [&](std::size_t b) {
    return Codes<Isa>(planes + b * block_stride, block_stride, pairs, count);
  };
  if (queries <= kPass || count > kMostPairs) {
    for (std::size_t q = 0; q < queries; q += kPass) {
      for (std::size_t b = 0; b < blocks; ++b) {
        sum_pass<Isa>(codes(b), count, luts + q, queries - q, sums + q * sum_stride + b * kBlock,
                      sum_stride);
      }
    }
    return;
  }
  alignas(64) std::uint8_t nibbles[kMostPairs * 2 * kPairBytes];
  for (std::size_t b = 0; b < blocks; ++b) {
    separate(codes(b), count, nibbles);
    for (std::size_t q = 0; q < queries; q += kPass) {
      sum_pass<Isa>(Separated<Isa>(nibbles), count, luts + q, queries - q,
                    sums + q * sum_stride + b * kBlock, sum_stride);
    }
  }
}

}  // namespace
}  // namespace waterfill
