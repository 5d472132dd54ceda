// A trained codec: encodes vectors, decodes codes, and prepares the tables of queries.
//
// A code is one byte per group followed by one byte for the scale:
//
//   z = rho / |u_cell|^alpha,   rho = |x - center|
//
// u_cell is the direction that the high nibbles alone decode to, so z is the factor that the
// coarse score needs. The norms of u_cell and of the fully decoded direction u_hat follow from
// the code by table lookup. They give rho, and with it the factor of the full score, from the same
// byte for any metric:
//
//   s = rho / |u_hat|^alpha
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "waterfill/codec/codebooks.hpp"
#include "waterfill/codec/list_recall.hpp"
#include "waterfill/codec/log_scale.hpp"
#include "waterfill/codec/partition.hpp"
#include "waterfill/codec/transform.hpp"
#include "waterfill/core/types.hpp"

namespace waterfill {

// The exponent of the scale in quarters: 0 keeps the decoded norm, 4 restores that of the vector.
struct Alpha {
  std::uint32_t quarters = 4;
};
inline constexpr std::uint32_t kMaxQuarters = 4;

// |u|^alpha from |u|^2, by square roots only: fast, and equal on every machine.
float length_power(float squares, Alpha alpha);

// Whether a row equals the center that it is coded from up to the rounding of float32.
bool within_rounding(float distance, const float* row, std::size_t d);

// The depth of the two stages of a search.
struct Depth {
  std::uint32_t refine_factor = 20;  // candidates per neighbor that get the full score
  std::uint32_t coarse_groups = 0;   // groups that the coarse stage reads; 0: all
  // A list is skipped if all its vectors, with products this many standard deviations above their
  // mean, would score less than the candidates of the nearest lists.
  float prune_sigma = std::numeric_limits<float>::infinity();
};

// Quantizer of the second byte that an L2 index with cells keeps: the part of a score that does not
// depend on the query,
//
//   offset = rho^2 + 2 s <c - mean, u_hat>
//          = z (z middle + e (z norm_range + |c - mean| centroid_range)),
//
// with the centroid c of the cell and the byte e scaled to [-1, 1].
class OffsetScale {
 public:
  OffsetScale() = default;
  OffsetScale(double middle, double norm_range, double centroid_range)
      : middle_(middle), norm_range_(norm_range), centroid_range_(centroid_range) {}

  double middle() const { return middle_; }
  double norm_range() const { return norm_range_; }
  double centroid_range() const { return centroid_range_; }

  static float number(std::uint8_t byte) { return (static_cast<float>(byte) - 128) / 127; }
  std::uint8_t encode(double offset, double z, double length) const;

 private:
  double middle_ = 1, norm_range_ = 0, centroid_range_ = 0;
};

struct CodecParams {
  std::vector<float> mean, basis, weights;  // as for Transform; the basis in code order
  Partition partition;                      // cells whose centroids vectors are coded from
  std::vector<Shape> shapes;
  std::vector<SecondByte> second_bytes;  // the basis holds the row of such a dimension twice
  Codebooks codebooks;
  Alpha alpha_ip, alpha_l2;  // alpha_ip is also that of the stored scale
  LogScale scale;            // of the byte z
  LogScale cell_length;      // of |u_cell|^2, the second byte of an L2 index without cells
  OffsetScale offset;        // of the second byte of an L2 index with cells
  double constant_norm = 0;  // |x| if all training vectors have (nearly) the same norm, else 0
  double pq_multiplier = 0;  // > 0: score as the published classic plan does
  // > 0: bytes are chosen jointly, with errors weighted by weights^joint (joint_encoding.hpp).
  float joint = 0;
  double recall_ip = 0, recall_l2 = 0;  // that calibration measured on the sample; not in files
  bool normalize = false;               // vectors are divided by their norm before encoding
  Depth depth_ip, depth_l2;
  ListRecall list_recall_ip, list_recall_l2;
  // The collection size for which prune_sigma and the recall of lists hold; 0: unknown.
  std::uint32_t calibration_rows = 0;
  std::string plan;  // JSON for readers; no computation uses it
};

// What is known about a codec besides its parameters. No computation uses it.
struct Annotations {
  std::string manifest;   // JSON: training data, settings and measurements; empty: none
  double distortion = 0;  // mean squared error of held-out directions; 0: unknown
};

class JointEncoder;

// Immutable except for its annotations, so that threads and indexes can share it.
class Codec {
 public:
  explicit Codec(CodecParams params, Annotations annotations = {});
  ~Codec();
  Codec(const Codec&) = delete;
  Codec& operator=(const Codec&) = delete;

  const CodecParams& params() const { return params_; }
  // Thread-safe.
  Annotations annotations() const;
  void set_manifest(std::string manifest) const;
  void set_distortion(double distortion) const;
  const Transform& transform() const { return transform_; }
  std::size_t d() const { return transform_.d(); }
  std::size_t groups() const { return params_.shapes.size(); }
  // What `encode` reads besides the parameters: by group the first coordinate and the codebook; the
  // factors from the coordinates of a direction to those of a codebook; null, or the joint encoder.
  const std::vector<std::size_t>& offsets() const { return offsets_; }
  const std::vector<Int16Codebook>& int16_books() const { return int16_books_; }
  const std::vector<float>& int16_scales() const { return int16_scales_; }
  const JointEncoder* joint_encoder() const { return joint_.get(); }
  // At two bits per dimension or less, int8 products add less than half a percent to the error.
  bool uses_int8() const { return transform_.p() >= 4 * groups(); }
  // Centroids - mean, as queries: p values each; and the centroids of groups, point after point,
  // each followed by its squared length (see CodePoints).
  const std::vector<float>& projected_centroids() const;
  const std::vector<float>& points() const { return points_; }
  // Bytes of a code: one per group, the scale, and the cell number if there are cells.
  std::size_t code_size() const { return groups() + 1 + cell_bytes(); }
  std::size_t cell_bytes() const {
    return params_.partition.size() > 256 ? 2 : params_.partition.empty() ? 0 : 1;
  }
  const Partition& partition() const { return params_.partition; }
  std::size_t lists() const { return params_.partition.empty() ? 1 : params_.partition.size(); }
  // The cell number in a code; 0 if there are no cells.
  std::size_t cell_of(const std::uint8_t* code) const;
  void set_cell(std::uint8_t* code, std::size_t cell) const;
  // The point from which the vectors of a cell are coded.
  const float* coding_center(std::size_t cell) const {
    return params_.partition.empty() ? transform_.mean().data() : params_.partition.centroid(cell);
  }

  // codes: n * code_size() bytes. cells: of the rows, or null for the nearest. Throws
  // InvalidArgument for a row that is not finite.
  void encode(const Rows& x, std::uint8_t* codes, const std::uint16_t* cells = nullptr) const;
  // Everything except the scale bytes; rho receives the distances from the coding centers.
  void encode_directions(const Rows& x, std::uint8_t* codes, float* rho,
                         const std::uint16_t* cells = nullptr) const;
  // Coordinates of the decoded directions: n rows of transform().p() values.
  void decode_directions(const std::uint8_t* codes, std::size_t n, float* y) const;
  // x = center + s * u_hat with s = rho / |u_hat|^alpha.
  void decode(const std::uint8_t* codes, std::size_t n, Alpha alpha, float* x) const;

  // A projected query. w: the power of two that it was multiplied by, which the published score
  // needs.
  struct Projected {
    const float* values;
    float w;
  };
  // Lookup tables of queries: groups() * 256 values per query for whole bytes, and groups() * 16
  // for high nibbles.
  void full_tables(std::span<const Projected> queries, float* full) const;
  void cell_tables(const float* projected, float w, float* cells) const;

  float squared_length(const std::uint8_t* code) const;       // |u_hat|^2
  float squared_cell_length(const std::uint8_t* code) const;  // |u_cell|^2
  // <c - mean, u_hat> for a code whose cell has the centroid c, and |c - mean|.
  float centroid_product(const std::uint8_t* code) const;
  float centroid_product(const std::uint8_t* code, std::size_t cell) const;
  float centroid_length(std::size_t cell) const { return params_.partition.length(cell); }
  // The offset of an L2 score (see OffsetScale), with s for alpha_l2.
  double offset(const std::uint8_t* code) const;
  // Terms of the squared lengths: groups() * 256 values by byte, groups() * 16 by high nibble.
  const float* squared_lengths() const { return squared_lengths_.data(); }
  const float* squared_cells() const { return squared_cells_.data(); }
  // rho from the scale byte of a code and |u_cell|^2.
  float distance_from_center(std::uint8_t scale, float squared_cell_length) const {
    return params_.scale[scale] * length_power(squared_cell_length, params_.alpha_ip);
  }

 private:
  void encode_jointly(const std::int16_t* y, std::size_t n, std::uint8_t* codes) const;
  void apply_published_score(const float* projected, float w, float* full) const;

  CodecParams params_;
  mutable std::mutex annotations_mutex_;
  mutable Annotations annotations_;
  Transform transform_;
  std::vector<std::size_t> offsets_;            // first dimension of each group, and their number
  std::vector<std::size_t> first_byte_groups_;  // groups with a second byte, one per second byte
  std::vector<float> points_;                   // centroids by group and squared lengths
  std::vector<Int16Codebook> int16_books_;
  std::unique_ptr<const JointEncoder> joint_;
  std::vector<float> int16_scales_;  // from the coordinates of a direction to those of a codebook
  std::vector<float> squared_lengths_, squared_cells_;  // groups * 256 and * 16, unweighted
  // Made at the first use, since reading a codec must not take long. Threads may make it at once,
  // and one is kept: no lock that a fork could leave locked.
  mutable std::atomic<const std::vector<float>*> projected_centroids_{nullptr};
};

}  // namespace waterfill
