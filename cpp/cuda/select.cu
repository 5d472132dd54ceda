// The best candidates of a query: of those that it kept and those that a scan appended.
//
// A block takes a query. Keys are unique, so the last of the best is found digit by digit, from the
// highest byte on, by counting the keys with the digits found so far. If the scan found more keys
// than there is room for, the result is only a higher threshold, for another scan.
#include "device.hpp"

namespace waterfill {
namespace {

constexpr unsigned kDigits = 256;

struct Keys {
  const std::uint64_t *kept, *fresh;
  unsigned kept_count, fresh_count;

  __device__ unsigned size() const { return kept_count + fresh_count; }
  __device__ std::uint64_t operator[](unsigned i) const {
    return i < kept_count ? kept[i] : fresh[i - kept_count];
  }
};

// The n-th greatest of more than n keys.
__device__ std::uint64_t nth_greatest(const Keys& keys, unsigned n) {
  __shared__ unsigned counts[kDigits];
  __shared__ std::uint64_t prefix;
  __shared__ unsigned left;
  if (threadIdx.x == 0) {
    prefix = 0;
    left = n;
  }
  for (int shift = 56; shift >= 0; shift -= 8) {
    for (unsigned i = threadIdx.x; i < kDigits; i += blockDim.x) counts[i] = 0;
    __syncthreads();
    for (unsigned i = threadIdx.x; i < keys.size(); i += blockDim.x) {
      const std::uint64_t key = keys[i];
      const bool same = shift == 56 || (key >> (shift + 8)) == (prefix >> (shift + 8));
      if (same) atomicAdd(counts + (key >> shift & (kDigits - 1)), 1u);
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      unsigned digit = kDigits - 1;
      for (; counts[digit] < left; --digit) left -= counts[digit];
      prefix |= static_cast<std::uint64_t>(digit) << shift;
    }
    __syncthreads();
  }
  return prefix;
}

}  // namespace
}  // namespace waterfill

using namespace waterfill;

// Grid: queries. kept: room for n keys of each query, of which there are kept_counts; result: the
// same, written. fresh, capacity, counts: as of scan_few; counts become 0. again: whether the
// query needs another scan.
extern "C" __global__ void select_best(const std::uint64_t* kept, unsigned n, unsigned* kept_counts,
                                       const std::uint64_t* fresh, unsigned capacity,
                                       unsigned* counts, std::uint64_t* result,
                                       std::uint64_t* thresholds, std::uint8_t* again) {
  __shared__ unsigned written;
  const std::size_t query = blockIdx.x;
  const unsigned found = counts[query], before = kept_counts[query];
  const bool overflow = found > capacity;
  const Keys keys{kept + query * n, fresh + query * capacity, before, overflow ? capacity : found};
  std::uint64_t least = 0;
  const bool full = keys.size() >= n;
  if (keys.size() > n) {
    least = nth_greatest(keys, n);
  } else if (full) {  // all of them: the threshold is the last
    least = ~std::uint64_t{0};
    for (unsigned i = 0; i < n; ++i) least = keys[i] < least ? keys[i] : least;
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    written = 0;
    counts[query] = 0;
    again[query] = overflow ? 1 : 0;
    if (full && least > thresholds[query]) thresholds[query] = least;
  }
  __syncthreads();
  const unsigned copied = overflow ? before : keys.size();  // of an overflow, what was kept before
  for (unsigned i = threadIdx.x; i < copied; i += blockDim.x) {
    if (!overflow && keys[i] < least) continue;
    result[query * n + atomicAdd(&written, 1u)] = keys[i];
  }
  __syncthreads();
  if (threadIdx.x == 0) kept_counts[query] = written;
}
