#include "scoring.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels.hpp"

namespace waterfill {
namespace {

// Codes that are scored side by side: their sums do not wait for each other.
constexpr std::size_t kLanes = 4;
using Lanes = std::array<float, kLanes>;

struct Sums {
  Lanes products{}, lengths{}, cells{};
};

// codes: kLanes of them, `size` bytes apart. A score that restores no length takes no lengths.
template <bool kWithLengths>
Sums sum_entries(const Codec& codec, const float* tables, const std::uint8_t* codes,
                 std::size_t size) {
  Sums sums;
  const float *lengths = codec.squared_lengths(), *cells = codec.squared_cells();
  for (std::size_t g = 0; g < codec.groups(); ++g) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const std::size_t byte = codes[lane * size + g];
      sums.products[lane] += tables[g * kCentroids + byte];
      if constexpr (kWithLengths) {
        sums.lengths[lane] += lengths[g * kCentroids + byte];
        sums.cells[lane] += cells[g * kCells + byte / kCells];
      }
    }
  }
  return sums;
}

}  // namespace

Scoring::Scoring(const Codec& codec, Alpha alpha, bool euclidean, const CodeStore& store)
    : codec_(codec), scales_(&codec.params().scale), alpha_(alpha), euclidean_(euclidean) {
  const CodecParams& p = codec.params();
  for (std::size_t code = 0; code < 256; ++code) {
    const float squares = p.cell_length[static_cast<std::uint8_t>(code)];
    rho_factor_[code] = length_power(squares, p.alpha_ip);
    scale_factor_[code] = rho_factor_[code] / length_power(squares, alpha);
  }
  if (!euclidean || store.size() == 0) return;
  const auto [first, last] = store.extra_range();
  least_rho_ = *std::min_element(rho_factor_.begin() + first, rho_factor_.begin() + last + 1);
  const auto [least, largest] =
      std::minmax_element(scale_factor_.begin() + first, scale_factor_.begin() + last + 1);
  least_scale_ = *least;
  largest_scale_ = *largest;
}

float Scoring::largest_rho() const {
  const float factor = *std::max_element(rho_factor_.begin(), rho_factor_.end());
  return std::min((*scales_)[255] * factor, std::numeric_limits<float>::max());
}

// No vector with this z scores above the threshold with a smaller sum t.
double Scoring::least_product(double threshold, double z, double w) const {
  const double infinity = std::numeric_limits<double>::infinity();
  if (z == 0) return threshold < 0 ? -infinity : infinity;
  if (!euclidean_) return threshold / z;
  const double wanted = threshold + w * (z * least_rho_) * (z * least_rho_);
  return wanted / (2 * z * (wanted > 0 ? largest_scale_ : least_scale_));
}

void Scoring::limits(float threshold, const CoarseUnit& unit, float w,
                     std::uint16_t* limits) const {
  constexpr double kLargest = 65535;
  for (std::size_t kind = 0; kind < kLimits; ++kind) {
    double least = std::numeric_limits<double>::infinity();
    // Without rho^2 the least product rises or falls with z: the ends tell.
    for (std::size_t code = kind * 16; code < (kind + 1) * 16; code += euclidean_ ? 1 : 15) {
      least =
          std::min(least, least_product(threshold, (*scales_)[static_cast<std::uint8_t>(code)], w));
    }
    // A step less, for what float32 rounds in `coarse`.
    const double sum = unit.step > 0 ? std::floor((least - unit.base) / unit.step) - 1 : 0;
    limits[kind] = static_cast<std::uint16_t>(std::clamp(sum, 0.0, kLargest));
  }
}

void Scoring::full(const CodeStore& store, const float* tables, float w,
                   Candidates& candidates) const {
  const std::size_t groups = codec_.groups(), size = codec_.code_size();
  const bool with_lengths = alpha_.quarters > 0 || codec_.params().alpha_ip.quarters > 0;
  std::vector<std::uint8_t> codes(kLanes * size);
  for (std::size_t i = 0; i < std::min(2 * kLanes, candidates.size()); ++i) {
    store.prefetch(candidates[i].position());
  }
  for (std::size_t first = 0; first < candidates.size(); first += kLanes) {
    const std::size_t n = std::min(kLanes, candidates.size() - first);
    const std::size_t next = std::min(first + 2 * kLanes, candidates.size());
    for (std::size_t i = next; i < std::min(next + kLanes, candidates.size()); ++i) {
      store.prefetch(candidates[i].position());
    }
    for (std::size_t i = 0; i < n; ++i) {
      store.read(candidates[first + i].position(), codes.data() + i * size);
    }
    const Sums sums = with_lengths ? sum_entries<true>(codec_, tables, codes.data(), size)
                                   : sum_entries<false>(codec_, tables, codes.data(), size);
    for (std::size_t i = 0; i < n; ++i) {
      const float rho = codec_.distance_from_mean(codes[i * size + groups], sums.cells[i]);
      const float t = sums.products[i];
      const float s = rho / length_power(sums.lengths[i], alpha_);
      const float score = euclidean_ ? 2 * s * t - w * rho * rho : s * t;
      candidates[first + i] = Candidate(score, candidates[first + i].position());
    }
  }
}

}  // namespace waterfill
