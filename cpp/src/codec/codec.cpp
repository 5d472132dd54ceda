#include "waterfill/codec/codec.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "codec/joint_encoding.hpp"
#include "kernels.hpp"
#include "waterfill/core/thread_pool.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kTaskRows = 64;  // rows per task; they stay in cache

// A codebook of zeros, which has no scale, must not get an infinite one.
constexpr float kLargestScale = 1e37f;

// Second bytes are sorted by their first byte, which is that of an earlier group of one dimension.
void check_second_bytes(const CodecParams& p) {
  std::vector<std::size_t> starts;
  std::size_t column = 0;
  for (const Shape& shape : p.shapes) {
    if (shape.width == 1 && shape.kind == GroupKind::vector) starts.push_back(column);
    column += shape.width;
  }
  std::size_t least = 0;
  for (const SecondByte& second : p.second_bytes) {
    require(second.first_column >= least && second.first_column < second.column &&
                second.column < column &&
                std::binary_search(starts.begin(), starts.end(), second.first_column),
            "second bytes must follow a group of their dimension alone");
    least = second.first_column + std::size_t{1};
  }
}

void check(const CodecParams& p) {
  require(p.mean.size() <= kMaxDimensions, "a codec has at most " + std::to_string(kMaxDimensions) +
                                               " dimensions, got " + std::to_string(p.mean.size()));
  require(p.mean.empty() || has_unit_rows(p.basis, p.mean.size()),
          "basis must have rows of norm 1");
  check_second_bytes(p);
  std::size_t width = 0;
  for (const Shape& shape : p.shapes) width += shape.width;
  require(!p.shapes.empty() && width == p.weights.size(),
          "groups must cover the " + std::to_string(p.weights.size()) + " dimensions of the basis");
  require(
      p.codebooks.books.size() == width * kCentroids && p.codebooks.cells.size() == width * kCells,
      "codebooks must have 256 centroids and 16 cells for each dimension");
  require(p.partition.empty() || p.partition.dim() == p.mean.size(),
          "centroids must have as many dimensions as the mean");
  require(p.alpha_ip.quarters <= kMaxQuarters && p.alpha_l2.quarters <= kMaxQuarters,
          "alpha must be from 0 to 1");
}

// sum_j (book[j][c] / weight_j)^2 for every c.
void add_squares(const float* book, const float* weights, std::size_t width, std::size_t values,
                 float* out) {
  for (std::size_t j = 0; j < width; ++j) {
    for (std::size_t c = 0; c < values; ++c) {
      const float value = book[j * values + c] / weights[j];
      out[c] += value * value;
    }
  }
}

// Four independent sums.
template <class Term>
float sum_over_groups(std::size_t groups, Term term) {
  float a = 0, b = 0, c = 0, d = 0;
  std::size_t g = 0;
  for (; g + 4 <= groups; g += 4) {
    a += term(g);
    b += term(g + 1);
    c += term(g + 2);
    d += term(g + 3);
  }
  for (; g < groups; ++g) a += term(g);
  return (a + b) + (c + d);
}

}  // namespace

float length_power(float squares, Alpha alpha) {
  return length_power(squares, alpha.quarters);
}

bool within_rounding(float distance, const float* row, std::size_t d) {
  constexpr double kRounding = 1e-6;
  double squares = 0;
  for (std::size_t j = 0; j < d; ++j) squares += static_cast<double>(row[j]) * row[j];
  return distance <= kRounding * std::sqrt(squares);
}

std::uint8_t OffsetScale::encode(double offset, double z, double length) const {
  const double step = z * (z * norm_range_ + length * centroid_range_);
  if (!(step > 0)) return 128;
  const double number = (offset - z * (z * middle_)) / step;
  if (std::isnan(number)) return 128;  // of an offset beyond float32
  return static_cast<std::uint8_t>(std::clamp(std::round(128 + 127 * number), 1.0, 255.0));
}

Codec::Codec(CodecParams params, Annotations annotations)
    : params_((check(params), std::move(params))),
      annotations_(std::move(annotations)),
      transform_(params_.mean, params_.basis, params_.weights),
      int16_scales_(transform_.stride(), 0.0f),
      squared_lengths_(groups() * kCentroids, 0.0f),
      squared_cells_(groups() * kCells, 0.0f) {
  std::size_t offset = 0;
  for (std::size_t g = 0; g < groups(); ++g) {
    const std::size_t width = params_.shapes[g].width;
    offsets_.push_back(offset);
    const float* book = params_.codebooks.books.data() + offset * kCentroids;
    int16_books_.emplace_back(book, width);
    for (std::size_t j = offset; j < offset + width; ++j) {
      int16_scales_[j] = std::min(params_.weights[j] * int16_books_[g].scale(), kLargestScale);
    }
    const float* weights = params_.weights.data() + offset;
    for (const SecondByte& second : params_.second_bytes) {
      if (second.first_column == offset) first_byte_groups_.push_back(g);
    }
    add_squares(book, weights, width, kCentroids, squared_lengths_.data() + g * kCentroids);
    for (std::size_t c = 0; c < kCentroids; ++c) {
      for (std::size_t j = 0; j < width; ++j) points_.push_back(book[j * kCentroids + c]);
      points_.push_back(squared_lengths_[g * kCentroids + c]);
    }
    add_squares(params_.codebooks.cells.data() + offset * kCells, weights, width, kCells,
                squared_cells_.data() + g * kCells);
    offset += width;
  }
  offsets_.push_back(offset);
  points_.resize(points_.size() + kPointPadding);
  if (params_.joint > 0) joint_ = std::make_unique<const JointEncoder>(params_, params_.joint);
}

Codec::~Codec() {
  delete projected_centroids_.load(std::memory_order_acquire);
}

Annotations Codec::annotations() const {
  const std::lock_guard lock(annotations_mutex_);
  return annotations_;
}

void Codec::set_manifest(std::string manifest) const {
  const std::lock_guard lock(annotations_mutex_);
  annotations_.manifest = std::move(manifest);
}

void Codec::set_distortion(double distortion) const {
  const std::lock_guard lock(annotations_mutex_);
  annotations_.distortion = distortion;
}

std::size_t Codec::cell_of(const std::uint8_t* code) const {
  const std::uint8_t* number = code + groups() + 1;
  std::size_t cell = 0;
  for (std::size_t i = 0; i < cell_bytes(); ++i) cell |= std::size_t{number[i]} << (8 * i);
  return cell;
}

void Codec::set_cell(std::uint8_t* code, std::size_t cell) const {
  std::uint8_t* number = code + groups() + 1;
  for (std::size_t i = 0; i < cell_bytes(); ++i) {
    number[i] = static_cast<std::uint8_t>(cell >> (8 * i));
  }
}

void Codec::encode_directions(const Rows& x, std::uint8_t* codes, float* rho,
                              const std::uint16_t* cells) const {
  std::vector<std::uint16_t> nearest;
  CodingCenters centers{transform_.mean().data()};
  if (!partition().empty()) {
    if (cells == nullptr) {
      nearest.resize(x.n);
      partition().assign(x, nearest.data());
      cells = nearest.data();
    }
    for (std::size_t i = 0; i < x.n; ++i) set_cell(codes + i * code_size(), cells[i]);
    centers = {partition().centroids().data(), cells};
  }
  const std::size_t stride = transform_.stride();
  std::vector<std::int16_t> y(x.n * stride + 1);  // a group of odd width is read one value further
  // If the scale holds the norm itself (alpha 0), directions are in units of the rounded norm, so
  // the codes compensate for the rounding.
  const LogScale* lengths = params_.alpha_ip.quarters == 0 ? &params_.scale : nullptr;
  transform_.fixed_directions(x, centers, uses_int8(), int16_scales_.data(), lengths, y.data(),
                              rho);
  std::size_t s = 0;  // the next second byte
  for (std::size_t g = 0; g < groups(); ++g) {
    int16_books_[g].nearest(y.data() + offsets_[g], x.n, stride, codes + g, code_size());
    for (; s < first_byte_groups_.size() && first_byte_groups_[s] == g; ++s) {
      const SecondByte& second = params_.second_bytes[s];
      const float factor = int16_scales_[second.column] / int16_scales_[second.first_column];
      for (std::size_t i = 0; i < x.n; ++i) {
        const std::int16_t value = y[i * stride + second.first_column];
        y[i * stride + second.column] =
            int16_books_[g].residual(value, codes[i * code_size() + g], factor);
      }
    }
  }
  if (joint_) encode_jointly(y.data(), x.n, codes);
}

// y: in the coordinates of the codebooks.
void Codec::encode_jointly(const std::int16_t* y, std::size_t n, std::uint8_t* codes) const {
  const std::size_t p = transform_.p(), stride = transform_.stride();
  std::vector<float> u(p);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < p; ++j) {
      u[j] = static_cast<float>(y[i * stride + j]) / int16_scales_[j];
    }
    joint_->improve(u.data(), codes + i * code_size());
  }
}

void Codec::encode(const Rows& x, std::uint8_t* codes, const std::uint16_t* cells) const {
  require_dimensions(x, "x", d());
  for (std::size_t i = 0; cells != nullptr && i < x.n; ++i) {
    require(cells[i] < lists(), "cells: row " + std::to_string(i) + " names cell " +
                                    std::to_string(cells[i]) + " of " + std::to_string(lists()));
  }
  parallel_for((x.n + kTaskRows - 1) / kTaskRows, [&](std::size_t task) {
    const std::size_t first = task * kTaskRows, n = std::min(kTaskRows, x.n - first);
    std::vector<float> rho(n), unit;
    Rows rows{x.row(first), n, x.d};
    if (params_.normalize) {
      unit.assign(rows.data, rows.data + n * x.d);
      normalize_rows(unit.data(), n, x.d);
      rows.data = unit.data();
    }
    std::uint8_t* out = codes + first * code_size();
    encode_directions(rows, out, rho.data(), cells != nullptr ? cells + first : nullptr);
    for (std::size_t i = 0; i < n; ++i) {
      if (std::isnan(rho[i])) {  // the caller checked the row, but another thread may write to it
        throw InvalidArgument("x has a NaN or an infinity in a row that changed while it was read");
      }
      std::uint8_t* code = out + i * code_size();
      const float power = length_power(squared_cell_length(code), params_.alpha_ip);
      code[groups()] = params_.scale.encode(static_cast<double>(rho[i]) / power);
      if (code[groups()] == 1 && within_rounding(rho[i], rows.row(i), x.d)) code[groups()] = 0;
    }
  });
}

void Codec::decode_directions(const std::uint8_t* codes, std::size_t n, float* y) const {
  const std::size_t p = transform_.p();
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint8_t* code = codes + i * code_size();
    float* row = y + i * p;
    for (std::size_t g = 0; g < groups(); ++g) {
      for (std::size_t j = offsets_[g]; j < offsets_[g] + params_.shapes[g].width; ++j) {
        row[j] = params_.codebooks.books[j * kCentroids + code[g]];
      }
    }
  }
}

void Codec::decode(const std::uint8_t* codes, std::size_t n, Alpha alpha, float* x) const {
  parallel_for((n + kTaskRows - 1) / kTaskRows, [&](std::size_t task) {
    const std::size_t first = task * kTaskRows, rows = std::min(kTaskRows, n - first);
    std::vector<float> y(rows * transform_.p());
    const std::uint8_t* own = codes + first * code_size();
    decode_directions(own, rows, y.data());
    float* out = x + first * d();
    transform_.directions_from_codes(y.data(), rows, out);
    for (std::size_t i = 0; i < rows; ++i) {
      const std::uint8_t* code = own + i * code_size();
      const float rho = distance_from_center(code[groups()], squared_cell_length(code));
      const float s = rho / length_power(squared_length(code), alpha);
      const std::size_t cell = cell_of(code);
      require(cell < lists(), "codes: row " + std::to_string(first + i) + " names cell " +
                                  std::to_string(cell) + " of " + std::to_string(lists()));
      const float* center = coding_center(cell);
      for (std::size_t k = 0; k < d(); ++k) out[i * d() + k] = center[k] + s * out[i * d() + k];
    }
  });
}

float Codec::squared_length(const std::uint8_t* code) const {
  return sum_over_groups(groups(),
                         [&](std::size_t g) { return squared_lengths_[g * kCentroids + code[g]]; });
}

float Codec::squared_cell_length(const std::uint8_t* code) const {
  return sum_over_groups(
      groups(), [&](std::size_t g) { return squared_cells_[g * kCells + (code[g] >> 4)]; });
}

const std::vector<float>& Codec::projected_centroids() const {
  const auto* known = projected_centroids_.load(std::memory_order_acquire);
  if (known != nullptr) return *known;
  const std::size_t n = partition().size();
  const std::size_t p = transform_.p();
  const std::size_t stride = transform_.stride();
  const std::vector<float> rows = partition().from_mean();
  std::vector<float> padded(n * stride);
  transform_.queries({rows.data(), n, d()}, padded.data());
  auto made = std::make_unique<std::vector<float>>(n * p);
  for (std::size_t c = 0; c < n; ++c) {
    std::copy_n(padded.data() + c * stride, p, made->data() + c * p);
  }
  if (!projected_centroids_.compare_exchange_strong(known, made.get(), std::memory_order_acq_rel)) {
    return *known;  // another thread was faster
  }
  return *made.release();
}

float Codec::centroid_product(const std::uint8_t* code) const {
  if (partition().empty()) return 0;
  return centroid_product(code, cell_of(code));
}

float Codec::centroid_product(const std::uint8_t* code, std::size_t cell) const {
  const float* centroid = projected_centroids().data() + cell * transform_.p();
  const float* points = points_.data();
  std::array<float, 4> sums{};  // independent sums
  for (std::size_t g = 0; g < groups(); ++g) {
    const std::size_t width = params_.shapes[g].width;
    const float* point = points + code[g] * (width + 1);
    float sum = 0;
    for (std::size_t j = 0; j < width; ++j) sum += centroid[j] * point[j];
    sums[g % 4] += sum;
    centroid += width;
    points += kCentroids * (width + 1);
  }
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

double Codec::offset(const std::uint8_t* code) const {
  const double rho = distance_from_center(code[groups()], squared_cell_length(code));
  const double s = rho / length_power(squared_length(code), params_.alpha_l2);
  return rho * rho + 2 * s * centroid_product(code);
}

void Codec::full_tables(std::span<const Projected> queries, float* full) const {
  const std::size_t size = groups() * kCentroids;
  for (std::size_t g = 0; g < groups(); ++g) {
    for (std::size_t i = 0; i < queries.size(); ++i) {  // the codebook is in cache for all queries
      kernels().table(queries[i].values + offsets_[g], params_.shapes[g].width,
                      params_.codebooks.books.data() + offsets_[g] * kCentroids,
                      full + i * size + g * kCentroids);
    }
  }
  for (std::size_t i = 0; params_.pq_multiplier > 0 && i < queries.size(); ++i) {
    apply_published_score(queries[i].values, queries[i].w, full + i * size);
  }
}

void Codec::cell_tables(const float* projected, float w, float* cells) const {
  if (params_.pq_multiplier > 0) {  // these scores are not products with the mean of a cell
    std::vector<float> full(groups() * kCentroids);
    full_tables(std::array{Projected{projected, w}}, full.data());
    for (std::size_t entry = 0; entry < groups() * kCells; ++entry) {
      float sum = 0;  // the codes of a cell are adjacent in the table
      for (std::size_t i = 0; i < kCells; ++i) sum += full[entry * kCells + i];
      cells[entry] = sum / static_cast<float>(kCells);
    }
    return;
  }
  kernels().query.cells(projected, offsets_.data(), groups(), params_.codebooks.cells.data(),
                        cells);
}

// The published score times w: the product-quantized part times the multiplier, plus one for every
// bit that has the sign of the query and minus one for every other bit.
void Codec::apply_published_score(const float* projected, float w, float* full) const {
  for (std::size_t g = 0; g < groups(); ++g) {
    float* table = full + g * kCentroids;
    for (std::size_t c = 0; c < kCentroids; ++c) {
      if (params_.shapes[g].kind == GroupKind::vector) {
        table[c] *= static_cast<float>(params_.pq_multiplier);
        continue;
      }
      table[c] = 0;
      for (std::size_t j = 0; j < params_.shapes[g].width; ++j) {
        const bool bit = ((c >> (7 - j)) & 1) != 0;
        table[c] += bit == (projected[offsets_[g] + j] > 0) ? w : -w;
      }
    }
  }
}

}  // namespace waterfill
