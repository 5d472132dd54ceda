#include "search/scoring.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels.hpp"
#include "waterfill/core/arithmetic.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kLanes =
    4;  // codes that are scored together, so that their sums are independent
static_assert(kCodes % kLanes == 0);

// Adds the entries of kLanes codes, `size` bytes apart. kWithLengths: whether the score depends on
// norms.
template <bool kWithLengths>
void add_entries(const Codec& codec, const float* tables, const std::uint8_t* codes,
                 std::size_t size, float* products, float* lengths, float* cells) {
  std::array<float, kLanes> sums{}, squares{}, cell_squares{};
  for (std::size_t g = 0; g < codec.groups(); ++g) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const std::size_t byte = codes[lane * size + g];
      sums[lane] += tables[g * kCentroids + byte];
      if constexpr (kWithLengths) {
        squares[lane] += codec.squared_lengths()[g * kCentroids + byte];
        cell_squares[lane] += codec.squared_cells()[g * kCells + byte / kCells];
      }
    }
  }
  std::copy_n(sums.data(), kLanes, products);
  std::copy_n(squares.data(), kLanes, lengths);
  std::copy_n(cell_squares.data(), kLanes, cells);
}

// The sums of kCodes codes from tables.
CodeSums sums_from_tables(const Codec& codec, const float* tables, const std::uint8_t* codes,
                          std::size_t size, bool with_lengths) {
  CodeSums sums;
  const auto add = with_lengths ? add_entries<true> : add_entries<false>;
  for (std::size_t i = 0; i < kCodes; i += kLanes) {
    add(codec, tables, codes + i * size, size, sums.products + i, sums.lengths + i, sums.cells + i);
  }
  return sums;
}

// Mean of |u_cell|^2 over uniformly distributed high nibbles.
double mean_squared_cell(const Codec& codec) {
  double sum = 0;
  for (std::size_t i = 0; i < codec.groups() * kCells; ++i) sum += codec.squared_cells()[i];
  return sum / kCells;
}

// A power of the values of a scale, for byte 0 another value.
SideTable side_table(const LogScale& scale, double power, float zero) {
  constexpr double kLargest = std::numeric_limits<float>::max();
  const auto entry = [&](double exponent) {
    return static_cast<float>(std::min(std::exp(power * exponent), kLargest));
  };
  SideTable table{.high = {}, .low = {}, .zero = zero};
  for (int i = 0; i < 16; ++i) {  // byte 1 has the lowest value
    table.high[i] = entry(scale.low() + (16 * i - 1) * scale.step());
    table.low[i] = entry(i * scale.step());
  }
  return table;
}

std::vector<float> variances_of(const Codec& codec) {
  std::vector<float> variances;
  const Aligned<float>& books = codec.params().codebooks.books;
  for (std::size_t j = 0; j < codec.transform().p(); ++j) {
    float sum = 0;
    for (std::size_t c = 0; c < kCentroids; ++c) {
      sum += books[j * kCentroids + c] * books[j * kCentroids + c];
    }
    variances.push_back(sum / kCentroids);
  }
  return variances;
}

}  // namespace

Scoring::Scoring(const Codec& codec, Alpha alpha, bool euclidean,
                 const std::vector<ListRange>& lists)
    : codec_(codec), scales_(&codec.params().scale), alpha_(alpha), euclidean_(euclidean) {
  const CodecParams& p = codec.params();
  for (std::size_t code = 0; code < 256; ++code) {
    inverse_z_[code] = 1 / (*scales_)[static_cast<std::uint8_t>(code)];
  }
  const auto power = [&](Alpha of, std::uint8_t code) {
    return length_power(p.cell_length[code], of);
  };
  const double own = p.alpha_ip.quarters, other = alpha.quarters;
  constexpr double kEighths = 8;  // quarters of a power of the length, which is a square root
  z_ = side_table(p.scale, 1, 0);
  rho_ = side_table(p.cell_length, own / kEighths, power(p.alpha_ip, 0));
  factor_ =
      side_table(p.cell_length, (own - other) / kEighths, power(p.alpha_ip, 0) / power(alpha, 0));
  const float largest = std::max(power(p.alpha_ip, 0), power(p.alpha_ip, 255));
  largest_rho_ = std::min((*scales_)[255] * largest, std::numeric_limits<float>::max());
  if (with_cells()) {
    variances_ = variances_of(codec);
    const auto squares = static_cast<float>(mean_squared_cell(codec));
    mean_factor_ = length_power(squares, p.alpha_ip) / length_power(squares, alpha);
    for (std::size_t l = 0; l < codec.lists(); ++l) {
      lengths_.push_back(codec.centroid_length(l));
      squared_lengths_.push_back(lengths_[l] * lengths_[l]);
      largest_rho_ = std::max(largest_rho_, lengths_[l]);
    }
  }
  for (std::size_t l = 0; l < lists.size(); ++l) {
    const ByteRange scales = lists[l].size > 0 ? lists[l].scales : ByteRange{0, 0};
    scale_ranges_.push_back(scales);
    const float z = (*scales_)[scales.largest];
    gains_.push_back(euclidean ? 2 * z * mean_factor_ : z);
    least_offsets_.push_back(euclidean && with_cells() ? least_offset(lists[l], l) : 0);
  }
}

// A lower bound of the offsets of a list's vectors: of z (square z + line) over its range of z.
double Scoring::least_offset(const ListRange& list, std::size_t number) const {
  if (list.size == 0) return 0;
  const OffsetScale& offset = codec_.params().offset;
  const double e = OffsetScale::number(list.extras.least);
  const double square = offset.middle() + e * offset.norm_range();
  const double line = e * offset.centroid_range() * lengths_[number];
  const auto at = [&](double z) { return z * (square * z + line); };
  const double low = (*scales_)[list.scales.least], high = (*scales_)[list.scales.largest];
  const double turn = square > 0 ? -line / (2 * square) : low;
  return std::min({at(low), at(high), at(std::clamp(turn, low, high))});
}

float Scoring::deviation(const float* projected, std::size_t dimensions) const {
  std::array<float, 8> sums{};  // independent sums
  for (std::size_t first = 0; first < dimensions; first += sums.size()) {
    const std::size_t n = std::min(sums.size(), dimensions - first);
    for (std::size_t i = 0; i < n; ++i) {
      const float value = projected[first + i];
      sums[i] += value * value * variances_[first + i];
    }
  }
  return std::sqrt(std::accumulate(sums.begin(), sums.end(), 0.0f));
}

float Scoring::best_of_list(std::size_t list, float list_term, float t, float w) const {
  const float best = list_term + gains_[list] * t;
  return euclidean_ ? best - static_cast<float>(w * least_offsets_[list]) : best;
}

// For inner products, lists rank by the best score that their vectors can have: long vectors score
// high from any direction. For L2 they rank by the centroid alone: a list that reaches far is near
// to every query. Lists by direction rank by the direction of the centroid.
Scoring::ListOrder Scoring::list_order(const Partition::Estimate& query, float t, float w) const {
  if (by_direction()) {
    return {query.products, codec_.partition().mean_products(), query.unit, euclidean_ ? w : 0};
  }
  if (euclidean_) return {query.products, squared_lengths_.data(), 2 * query.unit, -w};
  return {query.products, gains_.data(), query.unit, t};
}

CoarseTerms Scoring::coarse_terms(std::size_t list, float list_term, const CoarseUnit& unit,
                                  float w) const {
  const OffsetScale& offset = codec_.params().offset;
  return {.z = &z_,
          .rho = &rho_,
          .factor = &factor_,
          .bias = unit.bias,
          .step = unit.step,
          .w = w,
          .list_term = list_term,
          .gain = 2 * mean_factor_,
          .middle = static_cast<float>(offset.middle()),
          .norm_range = static_cast<float>(offset.norm_range()),
          .line = with_cells() ? lengths_[list] * static_cast<float>(offset.centroid_range()) : 0};
}

ScoreTables Scoring::tables() const {
  const CoarseTerms terms = coarse_terms(0, 0, {}, 1);
  ScoreTables tables{z_, rho_, factor_, terms.gain, terms.middle, terms.norm_range, {}, lengths_};
  for (std::size_t l = 0; l < lengths_.size(); ++l) {
    tables.lines.push_back(coarse_terms(l, 0, {}, 1).line);
  }
  return tables;
}

void Scoring::limits(std::size_t list, float list_term, float threshold, const CoarseUnit& unit,
                     std::uint16_t* limits) const {
  constexpr float kLargest = 65535, infinity = std::numeric_limits<float>::infinity();
  const ByteRange& scales = scale_ranges_[list];
  const float above = threshold - list_term;
  // The least sum t that a vector with this scale byte needs, which is monotonic in the byte.
  const auto least = [&](int code) {
    if (code == 0) return above < 0 ? -infinity : infinity;
    return above * inverse_z_[static_cast<std::uint8_t>(code)];
  };
  std::fill_n(limits, kLimits, std::uint16_t{65535});
  for (int kind = scales.least / 16; kind <= scales.largest / 16; ++kind) {
    const int first = std::max<int>(16 * kind, scales.least),
              last = std::min<int>(16 * kind + 15, scales.largest);
    const float t = std::min(least(first), least(last));
    // Two steps less, for rounding errors here and in `product`. A NaN lets all vectors pass.
    const float sum = unit.step > 0 ? std::floor((t - unit.bias) * unit.inverse_step) - 2 : 0;
    limits[kind] = static_cast<std::uint16_t>(std::min(std::max(0.0f, sum), kLargest));
  }
}

void Scoring::full(const CodeStore& store, const FullQuery& query, Candidates& candidates) const {
  const std::size_t groups = codec_.groups(), size = groups + 1;
  const bool with_lengths =
      euclidean_ || alpha_.quarters > 0 || codec_.params().alpha_ip.quarters > 0;
  const CodePoints points{codec_.points().data(), with_lengths ? codec_.squared_cells() : nullptr,
                          codec_.offsets().data(), groups};
  std::vector<std::uint8_t> codes(kCodes * size + kCodePadding);
  std::array<Location, 2 * kCodes> locations{};  // a ring buffer, ahead of the scores
  std::size_t located = 0;
  const auto locate_until = [&](std::size_t end) {
    for (end = std::min(end, candidates.size()); located < end; ++located) {
      const Location location = store.locate(candidates[located].position());
      store.prefetch(location);
      locations[located % locations.size()] = location;
    }
  };
  for (std::size_t first = 0; first < candidates.size(); first += kCodes) {
    const std::size_t n = std::min(kCodes, candidates.size() - first);
    locate_until(first + locations.size());
    for (std::size_t i = 0; i < n; ++i) {
      store.read(locations[(first + i) % locations.size()], codes.data() + i * size);
    }
    CodeSums sums;
    if (query.tables != nullptr) {
      sums = sums_from_tables(codec_, query.tables, codes.data(), size, with_lengths);
    } else {
      kernels().code_sums(query.projected, points, codes.data(), size, sums);
    }
    for (std::size_t i = 0; i < n; ++i) {
      const Location& location = locations[(first + i) % locations.size()];
      const float rho = codec_.distance_from_center(codes[i * size + groups], sums.cells[i]);
      const float s = rho / length_power(sums.lengths[i], alpha_);
      const float list_term = query.list_terms != nullptr ? query.list_terms[location.list] : 0.0f;
      float product = 0;
      if (euclidean_ && with_cells()) {
        product = codec_.centroid_product(codes.data() + i * size, location.list);
      }
      const float score =
          full_score(euclidean_, list_term, sums.products[i], sums.lengths[i], s, product, query.w);
      candidates[first + i] = Candidate(score, candidates[first + i].position());
    }
  }
}

}  // namespace waterfill
