// A trained plan: encodes vectors, decodes codes, prepares queries. Knows nothing of ids.
//
// A code is one byte a group, then one byte for the scale:
//
//   z = rho / |u_cell|^alpha,   rho = |x - mean|
//
// u_cell is the direction that the high nibbles alone decode to, so z is the factor that the
// coarse score needs. The lengths of u_cell and of the whole decoded direction u_hat follow from
// the code by table, which makes rho, and with it the factor of the full score, come from the same
// byte for any metric:
//
//   s = rho / |u_hat|^alpha
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "waterfill/codec/codebooks.hpp"
#include "waterfill/codec/log_scale.hpp"
#include "waterfill/codec/partition.hpp"
#include "waterfill/codec/transform.hpp"
#include "waterfill/core/types.hpp"

namespace waterfill {

// An exponent of the scale, in quarters: 0 keeps the decoded length, 4 restores the vector's.
struct Alpha {
  std::uint32_t quarters = 4;
};
inline constexpr std::uint32_t kMaxQuarters = 4;

// |u|^alpha from |u|^2, by square roots alone: fast, and equal on every machine.
float length_power(float squares, Alpha alpha);

// How deep a search goes in its two stages.
struct Depth {
  std::uint32_t refine_factor = 20;  // candidates a neighbour that get the full score
  std::uint32_t scan_groups = 0;     // groups whose high nibbles the coarse stage reads; 0: all
  // A cell is passed by if all its vectors, with products of so many deviations, would score less
  // than what the nearest cells gave.
  float reach = std::numeric_limits<float>::infinity();
};

// The second byte that an L2 index with cells keeps: what a score takes off besides the products,
//
//   offset = rho^2 + 2 s <c - mean, u_hat> = z (z middle + e (z spread + |c - mean| reach)),
//
// c being the cell's centroid and e the byte as a number from -1 to 1.
class OffsetScale {
 public:
  OffsetScale() = default;
  OffsetScale(double middle, double spread, double reach)
      : middle_(middle), spread_(spread), reach_(reach) {}

  double middle() const { return middle_; }
  double spread() const { return spread_; }
  double reach() const { return reach_; }

  static float number(std::uint8_t byte) { return (static_cast<float>(byte) - 128) / 127; }
  // Times w, a small number where squares would be beyond float32.
  float decode(std::uint8_t byte, float z, float length, float w) const {
    const float step = z * static_cast<float>(spread_) + length * static_cast<float>(reach_);
    return w * z * (z * static_cast<float>(middle_) + number(byte) * step);
  }
  std::uint8_t encode(double offset, double z, double length) const;

 private:
  double middle_ = 1, spread_ = 0, reach_ = 0;
};

struct CodecParams {
  std::vector<float> mean, basis, weights;  // as Transform takes them; basis in code order
  Partition partition;                      // cells whose centroids vectors are coded from
  std::vector<Shape> shapes;
  std::vector<Rest> rests;  // dimensions that stand in two groups; their basis rows do so, too
  Codebooks codebooks;
  Alpha alpha_ip, alpha_l2;  // alpha_ip is also that of the stored scale
  LogScale scale;            // of the byte z
  LogScale cell_length;      // of |u_cell|^2, which an L2 index keeps beside it
  OffsetScale offset;        // of the other byte, which an L2 index with cells keeps
  double constant_norm = 0;  // |x| where all training vectors have (nearly) the same, else 0
  double pq_multiplier = 0;  // > 0: the published score of the classic plan
  // > 0: bytes are chosen together, and errors are weighted by weights^joint (joint.hpp).
  float joint = 0;
  double recall_ip = 0, recall_l2 = 0;  // that calibration found in the sample; not kept in files
  double distortion = 0;  // mean squared error of directions on rows held out of training, if known
  bool normalize = false;  // vectors are divided by their norm before they are encoded
  Depth depth_ip, depth_l2;
  std::uint32_t reach_rows = 0;  // vectors among which the depths' reach is enough; 0: not known
  std::string plan;              // JSON, for readers; no computation uses it
  std::string manifest;          // JSON, likewise: what the codec was made of, and how
};

class JointEncoder;

class Codec {
 public:
  explicit Codec(CodecParams params);
  ~Codec();
  Codec(const Codec&) = delete;
  Codec& operator=(const Codec&) = delete;

  const CodecParams& params() const { return params_; }
  void set_distortion(double measured) { params_.distortion = measured; }  // for reports alone
  void set_manifest(std::string text) { params_.manifest = std::move(text); }
  const Transform& transform() const { return transform_; }
  std::size_t d() const { return transform_.d(); }
  std::size_t groups() const { return params_.shapes.size(); }
  // Bytes of a code: one a group, the scale, and the number of the cell where there are cells.
  std::size_t code_size() const { return groups() + 1 + cell_bytes(); }
  std::size_t cell_bytes() const {
    return params_.partition.size() > 256 ? 2 : params_.partition.empty() ? 0 : 1;
  }
  const Partition& partition() const { return params_.partition; }
  std::size_t lists() const { return params_.partition.empty() ? 1 : params_.partition.size(); }
  // The cell that a code names; 0 where there are none.
  std::size_t cell_of(const std::uint8_t* code) const;
  void set_cell(std::uint8_t* code, std::size_t cell) const;
  // What vectors of a cell are coded from.
  const float* origin(std::size_t cell) const {
    return params_.partition.empty() ? transform_.mean().data() : params_.partition.centroid(cell);
  }

  // codes: n * code_size() bytes. Rows must be finite. cells: of the rows, or null for the nearest.
  void encode(const Rows& x, std::uint8_t* codes, const std::uint16_t* cells = nullptr) const;
  // All but the scale, and the distances from the origins.
  void encode_directions(const Rows& x, std::uint8_t* codes, float* rho,
                         const std::uint16_t* cells = nullptr) const;
  // The decoded directions' coordinates: n rows of transform().p() values.
  void decode_directions(const std::uint8_t* codes, std::size_t n, float* y) const;
  // x = origin + s * u_hat with s = rho / |u_hat|^alpha.
  void decode(const std::uint8_t* codes, std::size_t n, Alpha alpha, float* x) const;

  // A projected query. w: the power of two that it was multiplied by, which the published score's
  // bits need to know.
  struct Projected {
    const float* values;
    float w;
  };
  // Tables of queries: groups() * 256 values each for whole bytes, groups() * 16 for high nibbles.
  void full_tables(std::span<const Projected> queries, float* full) const;
  void cell_tables(const float* projected, float w, float* cells) const;

  float squared_length(const std::uint8_t* code) const;       // |u_hat|^2
  float squared_cell_length(const std::uint8_t* code) const;  // |u_cell|^2
  // <c - mean, u_hat> of a code whose cell has the centroid c, and |c - mean|.
  float centroid_product(const std::uint8_t* code) const;
  float centroid_product(const std::uint8_t* code, std::size_t cell) const;
  float centroid_length(std::size_t cell) const { return params_.partition.length(cell); }
  // What an L2 score takes off (OffsetScale), with s as alpha_l2 has it.
  double offset(const std::uint8_t* code) const;
  // What those sum up: groups() * 256 values, and groups() * 16 by high nibble.
  const float* squared_lengths() const { return squared_lengths_.data(); }
  const float* squared_cells() const { return squared_cells_.data(); }
  // rho, from the scale byte of a code and |u_cell|^2.
  float distance_from_origin(std::uint8_t scale, float squared_cell_length) const {
    return params_.scale[scale] * length_power(squared_cell_length, params_.alpha_ip);
  }

 private:
  void choose_jointly(const std::int16_t* y, std::size_t n, std::uint8_t* codes) const;
  void publish(const float* projected, float w, float* full) const;

  CodecParams params_;
  Transform transform_;
  std::vector<std::size_t> offsets_;      // first dimension of each group
  std::vector<std::size_t> rest_groups_;  // that leave the rests
  std::vector<float> points_;             // centroids group by group, one after the other
  std::vector<FixedBook> fixed_books_;
  std::unique_ptr<const JointEncoder> joint_;
  std::vector<float> fixed_scales_;  // from a direction's coordinates to a book's
  std::vector<float> squared_lengths_, squared_cells_;  // groups * 256 and * 16, unweighted
  std::vector<float> projected_centroids_;              // from the mean, as queries: p values each
};

}  // namespace waterfill
