#include "waterfill/drift/block_sums.hpp"

#include <algorithm>
#include <cmath>

#include "waterfill/core/thread_pool.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kTile = 64;    // rows per projection task
constexpr std::size_t kStrip = 256;  // rows per pass; their buffers stay in cache

float squared_distance(const float* a, const float* b, std::size_t d) {
  float sums[16] = {};  // independent sums
  std::size_t k = 0;
  for (; k + 16 <= d; k += 16) {
    for (std::size_t l = 0; l < 16; ++l) sums[l] += (a[k + l] - b[k + l]) * (a[k + l] - b[k + l]);
  }
  float sum = 0;
  for (; k < d; ++k) sum += (a[k] - b[k]) * (a[k] - b[k]);
  for (const float part : sums) sum += part;
  return sum;
}

}  // namespace

BlockSums::BlockSums(std::shared_ptr<const Codec> codec, const std::vector<std::uint8_t>& leading)
    : codec_(std::move(codec)), leading_(leading.begin(), leading.end()) {
  const CodecParams& p = codec_->params();
  for (std::uint32_t column = 0; column < codec_->transform().p(); ++column) {
    const auto is_column = [&](const SecondByte& second) { return second.column == column; };
    if (std::any_of(p.second_bytes.begin(), p.second_bytes.end(), is_column)) continue;
    columns_.push_back(column);
    scales_.push_back(p.weights[column]);
  }
  require(leading_.size() == columns_.size(),
          "leading must have " + std::to_string(columns_.size()) + " values");
}

void BlockSums::add(const Rows& x, const std::uint32_t* blocks, float* rows, float* sums,
                    std::uint8_t* codes, const PerRow& out) const {
  require_dimensions(x, "x", codec_->d());
  Scratch scratch;
  for (std::size_t first = 0; first < x.n; first += kStrip) {
    const Rows strip{x.row(first), std::min(kStrip, x.n - first), x.d};
    for (std::size_t i = 0; i < strip.n; ++i) rows[blocks[first + i]] += 1;
    add_strip(strip, blocks + first, sums,
              codes == nullptr ? nullptr : codes + first * codec_->code_size(),
              {out.norms + first, out.outside + first}, scratch);
  }
}

void BlockSums::add_strip(const Rows& x, const std::uint32_t* blocks, float* sums,
                          std::uint8_t* codes, const PerRow& out, Scratch& scratch) const {
  const std::size_t d = x.d, stride = codec_->transform().stride();
  const std::vector<float> zero(d, 0.0f);
  for (std::size_t i = 0; i < x.n; ++i) {
    out.norms[i] = std::sqrt(squared_distance(x.row(i), zero.data(), d));
  }
  auto& [unit, decoded, z, y] = scratch;
  Rows own = x;
  if (codec_->params().normalize) {
    unit.assign(x.data, x.data + x.n * d);
    normalize_rows(unit.data(), x.n, d);
    own.data = unit.data();
  }
  if (codes != nullptr) {
    decoded.resize(x.n * d);
    codec_->encode(own, codes);
    codec_->decode(codes, x.n, Alpha{0}, decoded.data());
  }
  z.resize(x.n * d);
  y.resize(x.n * stride);
  project(own, z.data(), y.data());
  for (std::size_t i = 0; i < x.n; ++i) {
    float* sum = sums + blocks[i] * features();
    const float length = squared_distance(z.data() + i * d, zero.data(), d);
    const float inside = add_moments(z.data() + i * d, y.data() + i * stride, sum);
    out.outside[i] = length > 0 ? std::clamp(1 - inside / length, 0.0f, 1.0f) : 0.0f;
    float* rest = sum + 2 * d + columns_.size();
    rest[0] += out.norms[i];
    rest[1] += out.norms[i] * out.norms[i];
    rest[2] += length;
    if (codes == nullptr) continue;
    const float error = squared_distance(own.row(i), decoded.data() + i * d, d);
    rest[3] += length > 0 ? error / length : 0.0f;
    rest[4] += error;
  }
}

// z = x - mean, and its projection as a query.
void BlockSums::project(const Rows& x, float* z, float* y) const {
  const Transform& transform = codec_->transform();
  const std::size_t d = x.d;
  parallel_for((x.n + kTile - 1) / kTile, [&](std::size_t task) {
    const std::size_t first = task * kTile, n = std::min(kTile, x.n - first);
    for (std::size_t i = first; i < first + n; ++i) {
      for (std::size_t k = 0; k < d; ++k) z[i * d + k] = x.row(i)[k] - transform.mean()[k];
    }
    transform.queries({z + first * d, n, d}, y + first * transform.stride());
  });
}

// Adds z, z^2 and y^2; returns the energy in the leading dimensions.
float BlockSums::add_moments(const float* z, const float* y, float* sum) const {
  const std::size_t d = codec_->d();
  for (std::size_t k = 0; k < d; ++k) sum[k] += z[k];
  sum += d;
  for (std::size_t k = 0; k < d; ++k) sum[k] += z[k] * z[k];
  sum += d;
  float leading = 0;
  for (std::size_t j = 0; j < columns_.size(); ++j) {
    const float value = y[columns_[j]] * scales_[j], square = value * value;
    sum[j] += square;
    leading += leading_[j] * square;
  }
  return leading;
}

}  // namespace waterfill
