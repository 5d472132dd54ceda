#include "waterfill/graph/graph_rows.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels.hpp"

namespace waterfill {
namespace {

constexpr float kCenter = 127.5f;       // of a byte's values
constexpr float kFrontCenter = 120.0f;  // of 16 times a nibble, in the middle of its 16 bytes
constexpr float kNibbleUnit = 16;
constexpr int kMostByte = 255, kNibble = 15, kNibbleBits = 4;
constexpr float kMostReach = 4, kLeastReach = 0.5f;  // of a row's range, in that of steps
constexpr float kMostFront = 127, kMostWeight = 4000;
constexpr int kDigit = 64;
constexpr float kLeastLength = std::numeric_limits<float>::min();  // whose inverse is finite
// A longer row has no squared norm in float32. A file may hold one: scores must not become NaN,
// which has no place in an order.
constexpr float kMostCoordinate = 1.8e19f, kMostProduct = 1e30f;

// What a front line starts with.
struct Head {
  float scale, front_scale, bias;
};
static_assert(sizeof(Head) == kGraphHead);
static_assert(GraphRows::kLineBytes == kGraphLine);

Head head_of(const std::uint8_t* line) {
  Head head;
  std::memcpy(&head, line, sizeof head);
  return head;
}

// The place of dimension j among the weights.
std::size_t place_of(std::size_t j) {
  if (j < kGraphHalf) return kGraphHead + j;
  if (j < kGraphFront) return kGraphLine + kGraphHead + j - kGraphHalf;
  return 2 * kGraphLine + j - kGraphFront;
}

std::size_t padded(std::size_t n) {
  return (n + kGraphLine - 1) / kGraphLine * kGraphLine;
}

int byte_of(const std::uint8_t* line, const std::uint8_t* rest, std::size_t j) {
  if (j >= kGraphFront) return rest[kGraphHalf + j - kGraphFront];
  if (j >= kGraphHalf) {
    const std::size_t i = j - kGraphHalf;
    return (line[kGraphHead + i] & ~kNibble) | rest[i] >> kNibbleBits;
  }
  return (line[kGraphHead + j] & kNibble) << kNibbleBits | (rest[j] & kNibble);
}

void set_byte(std::uint8_t* line, std::uint8_t* rest, std::size_t j, int byte) {
  if (j >= kGraphFront) {
    rest[kGraphHalf + j - kGraphFront] = static_cast<std::uint8_t>(byte);
    return;
  }
  const bool upper = j >= kGraphHalf;
  const std::size_t i = upper ? j - kGraphHalf : j;
  const int shift = upper ? kNibbleBits : 0;
  std::uint8_t& front = line[kGraphHead + i];
  front = static_cast<std::uint8_t>(front | (byte >> kNibbleBits) << shift);
  rest[i] = static_cast<std::uint8_t>(rest[i] | (byte & kNibble) << shift);
}

}  // namespace

GraphSpace::GraphSpace(std::vector<float> mean, std::vector<float> basis, std::vector<float> steps)
    : mean_(std::move(mean)), basis_(std::move(basis)), steps_(std::move(steps)) {
  const std::size_t d = mean_.size();
  require(d >= 1 && d <= kMaxDimensions, "mean must have 1 to 131072 values");
  require(basis_.size() == d * d && steps_.size() == d,
          "basis must have d rows of d values, and steps d values");
  for (const float step : steps_) {
    require(std::isfinite(step) && step > 0, "steps must be finite and positive");
  }
  const auto finite = [](float value) { return std::isfinite(value); };
  require(std::all_of(mean_.begin(), mean_.end(), finite), "mean must be finite");
  require(has_unit_rows(basis_, d), "basis must have rows of norm 1");
  to_coordinates_ =
      PackedMatrix(d, d, [&](std::size_t k, std::size_t j) { return basis_[j * d + k]; });
  from_coordinates_ =
      PackedMatrix(d, d, [&](std::size_t j, std::size_t k) { return basis_[j * d + k]; });
  mean_coordinates_.resize(to_coordinates_.stride());
  to_coordinates_.multiply(mean_.data(), 1, mean_coordinates_.data());
}

void GraphSpace::rotate(const Rows& x, float* y) const {
  const std::size_t stride = to_coordinates_.stride();
  std::vector<float> row(d()), padded_row(stride);
  for (std::size_t i = 0; i < x.n; ++i) {
    for (std::size_t k = 0; k < d(); ++k) row[k] = x.row(i)[k] - mean_[k];
    to_coordinates_.multiply(row.data(), 1, padded_row.data());
    std::copy_n(padded_row.data(), d(), y + i * d());
  }
}

void GraphSpace::restore(const float* y, std::size_t n, float* x) const {
  std::vector<float> padded_row(from_coordinates_.stride());
  for (std::size_t i = 0; i < n; ++i) {
    from_coordinates_.multiply(y + i * d(), 1, padded_row.data());
    for (std::size_t k = 0; k < d(); ++k) x[i * d() + k] = padded_row[k] + mean_[k];
  }
}

GraphRows::GraphRows(GraphSpace space, Metric metric)
    : space_(std::move(space)),
      metric_(metric),
      tail_(space_.d() > kGraphFront ? space_.d() - kGraphFront : 0),
      rest_bytes_(rest_bytes(space_.d())),
      rests_(2 * kGraphLine) {}

std::size_t GraphRows::rest_bytes(std::size_t d) {
  return kGraphHalf + (d > kGraphFront ? d - kGraphFront : 0);
}

std::size_t GraphRows::row_bytes() const {
  return kGraphLine + rest_bytes_;
}

std::size_t GraphRows::bytes() const {
  return lines_.capacity() + rests_.capacity();
}

const std::uint8_t* GraphRows::line(std::size_t row) const {
  return lines_.data() + row * kGraphLine;
}

const std::uint8_t* GraphRows::rest(std::size_t row) const {
  return rests() + row * rest_bytes_;
}

const std::uint8_t* GraphRows::rests() const {
  return rests_.data() + kGraphLine;
}

std::uint8_t* GraphRows::own_rests() {
  return rests_.data() + kGraphLine;
}

void GraphRows::prefetch_rest(std::size_t row) const {
  const std::uint8_t* data = rest(row);
  prefetch_bytes(data, rest_bytes_);
  prefetch_line(data + rest_bytes_ - 1);
}

// Grows by half at least, so that many small additions copy little.
void GraphRows::reserve(std::size_t n) {
  if (n * kGraphLine <= lines_.capacity()) return;
  const std::size_t most = std::max(n, size_ + size_ / 2);
  rests_.reserve(most * rest_bytes_ + 2 * kGraphLine);
  lines_.reserve(most * kGraphLine);
}

void GraphRows::resize(std::size_t n) {
  reserve(n);
  lines_.resize(n * kGraphLine);
  rests_.resize(n * rest_bytes_ + 2 * kGraphLine);
  size_ = n;
}

void GraphRows::truncate(std::size_t n) noexcept {
  if (n < size_) resize(n);  // without new memory
}

void GraphRows::append(const float* y, std::size_t n) {
  const std::size_t first = size_;
  resize(size_ + n);
  for (std::size_t i = 0; i < n; ++i) encode(y + i * d(), first + i);
}

void GraphRows::remove(const std::vector<std::uint64_t>& drop) noexcept {
  constexpr std::size_t kWord = 64;
  std::size_t kept = 0;
  for (std::size_t row = 0; row < size_; ++row) {
    if ((drop[row / kWord] >> row % kWord & 1) != 0) continue;
    if (kept != row) {
      std::memmove(lines_.data() + kept * kGraphLine, line(row), kGraphLine);
      std::memmove(own_rests() + kept * rest_bytes_, rest(row), rest_bytes_);
    }
    ++kept;
  }
  truncate(kept);
}

// The range of a row's bytes is as large as its largest value needs, within limits.
void GraphRows::encode(const float* y, std::size_t row) {
  std::uint8_t* line = lines_.data() + row * kGraphLine;
  std::uint8_t* rest = own_rests() + row * rest_bytes_;
  std::memset(line, 0, kGraphLine);
  std::memset(rest, 0, rest_bytes_);
  const std::vector<float>& steps = space_.steps();
  double squares = 0, mean_product = 0;
  for (std::size_t j = 0; j < d(); ++j) {
    squares += static_cast<double>(y[j]) * y[j];
    mean_product += static_cast<double>(y[j]) * space_.coordinates_of_mean()[j];
  }
  const auto length = static_cast<float>(std::sqrt(squares));
  const float inverse = length >= kLeastLength ? 1 / length : 0.0f;
  float reach = 0;
  for (std::size_t j = 0; j < d(); ++j) {
    reach = std::max(reach, std::abs(y[j] * inverse / steps[j]) / kCenter);
  }
  reach = std::clamp(reach, kLeastReach, kMostReach);
  double product = 0, front_squares = 0;
  for (std::size_t j = 0; j < d(); ++j) {
    const float unit = y[j] * inverse / (reach * steps[j]);
    const float nearest = std::floor(unit + kCenter + 0.5f);
    const float value =  // NaN for a row that is refused below
        std::isnan(nearest) ? 0.0f : std::clamp(nearest, 0.0f, float{kMostByte});
    const int byte = static_cast<int>(value);
    set_byte(line, rest, j, byte);
    product += static_cast<double>((value - kCenter) * steps[j]) * y[j];
    if (j >= kGraphFront) continue;
    const auto front = static_cast<float>(byte >> kNibbleBits);
    const double part = (kNibbleUnit * front - kFrontCenter) * steps[j];
    front_squares += part * part;
  }
  Head head{};
  if (length > 0) {
    head.scale = static_cast<float>(product > 0 ? squares / product : double{length * reach});
    head.front_scale = static_cast<float>(length / std::sqrt(front_squares));
  }
  head.bias = static_cast<float>(metric_ == Metric::l2 ? -squares / 2 : mean_product);
  require(std::isfinite(head.scale) && std::isfinite(head.front_scale) &&
              std::isfinite(head.bias) && std::isfinite(static_cast<float>(squares)),
          "x has a value that is too large for squared distances in float32");
  std::memcpy(line, &head, sizeof head);
}

void GraphRows::decode(std::size_t row, float* y) const {
  const float scale = head_of(line(row)).scale;
  for (std::size_t j = 0; j < d(); ++j) {
    const auto byte = static_cast<float>(byte_of(line(row), rest(row), j));
    const float value = scale * (space_.steps()[j] * (byte - kCenter));
    y[j] = std::clamp(value, -kMostCoordinate, kMostCoordinate);
  }
}

void GraphRows::prepare_row(std::size_t row, GraphQuery& query) const {
  static thread_local std::vector<float> y;
  y.resize(d());
  decode(row, y.data());
  prepare(y.data(), query);
}

// The product is sum_j (y_j step_j) (byte_j - 127.5), with y_j step_j in integers.
void GraphRows::prepare(const float* y, GraphQuery& query) const {
  const std::size_t size = 2 * kGraphLine + padded(tail_);
  query.front.assign(2 * kGraphLine, 0);
  query.high.assign(size, 0);
  query.low.assign(size, 0);
  static thread_local std::vector<float> products;
  products.resize(d());
  float most = 0, most_front = 0;
  for (std::size_t j = 0; j < d(); ++j) {
    products[j] = std::clamp(y[j] * space_.steps()[j], -kMostProduct, kMostProduct);
    most = std::max(most, std::abs(products[j]));
    if (j < kGraphFront) most_front = most;
  }
  constexpr double kMostSum = 2147483647;  // sums of products fit 32 bits
  const double bound = kMostSum / (kMostByte * static_cast<double>(d()));
  const float limit = std::min(kMostWeight, static_cast<float>(std::floor(bound)) - 1);
  const float to_integer = most > 0 ? limit / most : 0.0f;
  const float to_front = most_front > 0 ? kMostFront / most_front : 0.0f;
  std::int64_t sum = 0, front_sum = 0;
  double spread = 0;
  for (std::size_t j = 0; j < d(); ++j) {
    const int weight = static_cast<int>(std::lrint(products[j] * to_integer));
    const int rounded = weight + (weight >= 0 ? kDigit / 2 : -kDigit / 2);
    const std::size_t place = place_of(j);
    query.high[place] = static_cast<std::int8_t>(rounded / kDigit);
    query.low[place] = static_cast<std::int8_t>(weight - rounded / kDigit * kDigit);
    sum += weight;
    // Deviations of a nibble's values and of those of a whole byte, in bytes.
    constexpr double kNibbleVariance = 256.0 / 12, kByteVariance = 32.0 * 32;
    const double square = static_cast<double>(products[j]) * products[j];
    spread += square * (j < kGraphFront ? kNibbleVariance : kByteVariance);
    if (j >= kGraphFront) continue;
    const int front = static_cast<int>(std::lrint(products[j] * to_front));
    query.front[place] = static_cast<std::int8_t>(front);
    front_sum += front;
  }
  query.factor = most > 0 ? most / limit : 0.0f;
  query.offset = -kCenter * query.factor * static_cast<float>(sum);
  const float front_factor = most_front > 0 ? most_front / kMostFront : 0.0f;
  query.front_factor = kNibbleUnit * front_factor;
  query.front_offset = -kFrontCenter * front_factor * static_cast<float>(front_sum);
  query.spread = static_cast<float>(std::sqrt(spread));
}

float GraphRows::bias(std::size_t row) const {
  return head_of(line(row)).bias;
}

float GraphRows::score(const GraphQuery& query, std::size_t row) const {
  const std::int32_t sum =
      kernels().graph.full(line(row), rest(row), tail_, query.high.data(), query.low.data());
  const float product = query.factor * static_cast<float>(sum) + query.offset;
  return head_of(line(row)).scale * product + bias(row);
}

void GraphRows::front_scores(const GraphQuery& query, const std::uint32_t* rows, std::size_t n,
                             float* scores) const {
  constexpr std::size_t kBatch = 64;
  std::int32_t sums[kBatch];
  for (std::size_t first = 0; first < n; first += kBatch) {
    const std::size_t count = std::min(kBatch, n - first);
    kernels().graph.front(lines_.data(), rows + first, count, query.front.data(), sums);
    for (std::size_t i = 0; i < count; ++i) {
      const float product = query.front_factor * static_cast<float>(sums[i]) + query.front_offset;
      const std::uint32_t row = rows[first + i];
      scores[first + i] = head_of(line(row)).front_scale * product + bias(row);
    }
  }
}

float GraphRows::spread(const GraphQuery& query, std::size_t row) const {
  return query.spread * head_of(line(row)).scale;
}

bool GraphRows::valid() const {
  for (std::size_t row = 0; row < size_; ++row) {
    const Head head = head_of(line(row));
    const bool finite =
        std::isfinite(head.scale) && std::isfinite(head.front_scale) && std::isfinite(head.bias);
    if (!finite || head.scale < 0 || head.front_scale < 0) return false;
  }
  return true;
}

}  // namespace waterfill
