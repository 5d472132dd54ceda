// What both coarse scans share: lookups, scores, and the candidates of queries.
//
// A lookup table is in registers: 16 entries of a byte are four words, and a permutation of bytes
// (PRMT) looks up four vectors at once. Its selectors are nibbles, as the codes are, so that codes
// need no unpacking. A permutation takes eight entries; a selector with its highest bit set gives
// the sign of an entry, which is 0, because entries are below 128. So the permutation of the first
// eight entries gives 0 for the nibbles from 8 on, that of the others, with the highest bits of the
// selectors inverted, for those below 8, and the lookup is the sum of both.
//
// Four threads take a block of 32 vectors. Each ends with the sums of 8 of them, its share: four
// bytes of a group hold their nibbles. The entries of two groups are added as bytes, which hold
// them, and these sums as 16 bits.
#pragma once

#include "scan_item.hpp"

namespace waterfill {
namespace {

constexpr unsigned kShares = 4, kVectors = 8;  // threads per block of vectors
constexpr unsigned kPairsAtOnce = 256;         // whose tables fit shared memory

// What scores depend on besides the vector and the query.
struct Scores {
  unsigned kind;  // 0: product; 1: distance without cells; 2: distance with cells
  const float* scale_values;

  __device__ float score(float t, std::uint8_t scale, std::uint8_t extra,
                         const CoarseTerms& own) const {
    if (kind == 0) return own.list_term + scale_values[scale] * t;
    if (kind == 1) return coarse_distance(t, scale, extra, own);
    return coarse_distance_in_cell(t, scale, extra, own);
  }
};

// The 16 entries of a lookup table.
struct alignas(16) Table {
  std::uint32_t low[2], high[2];
};

// Where the table of a group of pair i lies: those of four pairs follow each other.
__device__ inline unsigned place_of(unsigned i, unsigned group, unsigned query) {
  return ((i / kShares * 2 + group) * kQueries + query) * kShares + i % kShares;
}

// Four bytes with the nibbles of 8 vectors: those of the first two bytes, and of the others.
struct Nibbles {
  std::uint32_t codes[2], inverted[2];

  __device__ explicit Nibbles(std::uint32_t word) {
    constexpr std::uint32_t kHighest = 0x88888888u;
    codes[0] = word;
    codes[1] = word >> 16;
    inverted[0] = word ^ kHighest;
    inverted[1] = (word ^ kHighest) >> 16;
  }
  __device__ std::uint32_t lookup(const Table& table, unsigned half) const {
    return permuted_bytes(table.low[0], table.low[1], codes[half]) +
           permuted_bytes(table.high[0], table.high[1], inverted[half]);
  }
};

// The sums of 8 vectors for a query. A lookup has a byte for vectors i, i + 16, i + 1 and i + 17;
// `odd` holds the sums of the second and the last of them, and `all` those of all bytes, which
// overflow into the bytes above.
struct Sums {
  std::uint32_t all[2] = {}, odd[2] = {};

  __device__ void add(const Table& first_table, const Nibbles& first, const Table& second_table,
                      const Nibbles& second) {
#pragma unroll
    for (unsigned half = 0; half < 2; ++half) {
      const std::uint32_t both =
          first.lookup(first_table, half) + second.lookup(second_table, half);
      all[half] += both;
      odd[half] += permuted_bytes(both, 0, 0x4341u);  // bytes 1 and 3, as 16 bits
    }
  }
  __device__ void add(const Sums& other) {
#pragma unroll
    for (unsigned half = 0; half < 2; ++half) {
      all[half] += other.all[half];
      odd[half] += other.odd[half];
    }
  }
  // Those of the thread whose number differs in one bit.
  __device__ Sums of_neighbor(unsigned bit) const {
    Sums result;
#pragma unroll
    for (unsigned half = 0; half < 2; ++half) {
      result.all[half] = __shfl_xor_sync(kAllLanes, all[half], bit);
      result.odd[half] = __shfl_xor_sync(kAllLanes, odd[half], bit);
    }
    return result;
  }
  // Vectors 0 to 3 have the low nibbles of a byte, the others the high ones.
  __device__ std::uint32_t of(unsigned vector) const {
    const unsigned half = vector % 4 / 2;
    const std::uint32_t pair = vector < 4 ? all[half] - (odd[half] << 8) : odd[half];
    return vector % 2 == 0 ? pair & 0xffffu : pair >> 16;
  }
};

// Where blocks of vectors lie, the first of which is first_block.
struct Blocks {
  const std::uint8_t *high, *scale, *extra, *sizes;
  const std::uint32_t* masks;
  unsigned first_block, block_bytes;

  // Of a share of a block, which of the 8 vectors exist and pass the filter.
  __device__ std::uint32_t present(std::size_t block, unsigned share) const {
    const unsigned size = sizes[block];
    std::uint32_t lanes = size < kBlock ? (1u << size) - 1 : ~0u;
    if (masks != nullptr) lanes &= masks[block];
    return (lanes >> 4 * share & 15u) | (lanes >> (4 * share + 12) & 0xf0u);
  }
  // Of a share of a block, the side bytes of vectors 0 to 3 and 4 to 7.
  static __device__ std::uint64_t side(const std::uint8_t* bytes, std::size_t block,
                                       unsigned share) {
    const auto* words = reinterpret_cast<const std::uint32_t*>(bytes + block * kBlock);
    return words[share] | std::uint64_t{words[kShares + share]} << 32;
  }
};

// What a query keeps: keys from a threshold on.
struct Candidates {
  std::uint64_t threshold;
  std::uint64_t* keys;
  unsigned* count;
  unsigned capacity;

  // The least score that can be kept; no score below -kLargestFloat ever is, nor is NaN.
  __device__ float least() const {
    const auto ordered = static_cast<std::uint32_t>(threshold >> 32);
    return ordered > ordered_score(-kLargestFloat) ? score_of(ordered) : -kLargestFloat;
  }
  __device__ void add(std::uint64_t key) const {
    if (key < threshold) return;
    const unsigned place = atomicAdd(count, 1u);
    if (place < capacity) keys[place] = key;
  }
};

// What all queries have in common.
struct Scan {
  Blocks blocks;
  const unsigned* pairs;
  unsigned pair_count;
  const std::uint8_t* luts;
  const float* units;
  Scores scores;
  const SideTable* side;
  float gain, middle, norm_range;
  const float* lines;
  const std::uint64_t* thresholds;
  std::uint64_t* keys;
  unsigned* counts;
  unsigned capacity;

  // Copies the tables of some pairs to shared memory.
  __device__ void load_tables(const Item& item, unsigned first_pair, unsigned count,
                              Table* tables) const {
    for (unsigned q = 0; q < kQueries && item.queries[q] >= 0; ++q) {
      const std::size_t lut = static_cast<std::size_t>(item.queries[q]) * pair_count * 2 * kCells;
      const auto* own = reinterpret_cast<const Table*>(luts + lut) + first_pair * 2;
      for (unsigned i = threadIdx.x; i < count * 2; i += blockDim.x) {
        tables[place_of(i / 2, i % 2, q)] = own[i];
      }
    }
  }

  // Adds up the lookups of all pairs for a block and kCount queries, and keeps
  // what reaches their thresholds. Adder: how a thread adds up its part. All threads must call it.
  template <class Adder, unsigned kCount>
  __device__ void scan(const Item& item, unsigned first, Table* tables) const {
    const unsigned share = threadIdx.x % kShares, number = first + threadIdx.x / kShares;
    const bool inside = number < item.count;  // the others help with sums
    const std::size_t block = item.first + (inside ? number : 0) - blocks.first_block;
    const std::uint8_t* own = blocks.high + block * blocks.block_bytes;
    typename Adder::Partial sums[kCount];
    for (unsigned done = 0; done < pair_count; done += kPairsAtOnce) {
      const unsigned some = pair_count - done < kPairsAtOnce ? pair_count - done : kPairsAtOnce;
      if (first == 0 || pair_count > kPairsAtOnce) {
        __syncthreads();
        load_tables(item, done, some, tables);
        __syncthreads();
      }
      Adder::add(own, share, pairs + done, some, tables, sums);
    }
#pragma unroll
    for (unsigned q = 0; q < kCount; ++q) {
      const Sums all = Adder::total(sums[q], share);
      if (inside) keep(item, q, block, share, all);
    }
  }

  // Appends the vectors of a share of a block that reach the threshold of a query.
  __device__ void keep(const Item& item, unsigned number, std::size_t block, unsigned share,
                       const Sums& sums) const {
    const std::uint32_t present = blocks.present(block, share);
    const std::uint64_t scale = Blocks::side(blocks.scale, block, share);
    const std::uint64_t extra = scores.kind == 0 ? 0 : Blocks::side(blocks.extra, block, share);
    const auto first = static_cast<unsigned>((block + blocks.first_block) * kBlock) + 4 * share;
    const auto query = static_cast<unsigned>(item.queries[number]);
    const float* unit = units + 3 * query;
    const float line = scores.kind == 2 ? lines[item.list] : 0.0f;
    const CoarseTerms terms{side,    side + 1,           side + 2, unit[0], unit[1],
                            unit[2], item.terms[number], gain,     middle,  norm_range,
                            line};
    const Candidates kept{thresholds[query], keys + static_cast<std::size_t>(query) * capacity,
                          counts + query, capacity};
    const float least = kept.least();
#pragma unroll
    for (unsigned v = 0; v < kVectors; ++v) {
      const float t = terms.bias + terms.step * static_cast<float>(sums.of(v));
      const float score = scores.score(t, static_cast<std::uint8_t>(scale >> 8 * v),
                                       static_cast<std::uint8_t>(extra >> 8 * v), terms);
      if (!(score >= least) || (present >> v & 1) == 0) continue;
      kept.add(candidate_key(score, first + (v < 4 ? v : 12 + v)));
    }
  }
};

}  // namespace
}  // namespace waterfill
