// Sums over blocks of rows, by which a drift monitor tells what has changed.
#pragma once

#include <cstdint>
#include <vector>

#include "waterfill/codec/codec.hpp"

namespace waterfill {

// What is summed of every row x with the difference z = x - mean:
//   z (d values), z^2 (d), y^2 (one for each dimension of the codec's eigenbasis, in code order),
//   |x|, |x|^2, |z|^2, and then the error of the decoded vector: |z - z_hat|^2 / |z|^2 and
//   |z - z_hat|^2, which are 0 where errors are not asked for.
class BlockSums {
 public:
  // leading: of the eigenbasis, those dimensions whose energy `outside` leaves out.
  BlockSums(std::shared_ptr<const Codec> codec, const std::vector<std::uint8_t>& leading);

  std::size_t directions() const { return columns_.size(); }
  std::size_t code_size() const { return codec_->code_size(); }
  std::size_t features() const { return 2 * codec_->d() + columns_.size() + kLengths + kErrors; }

  // What is known of each row by itself.
  struct PerRow {
    float* norms;    // |x|
    float* outside;  // share of |z|^2 that is not in the leading dimensions
  };
  // Adds row i to block blocks[i] of `sums` (features() values a block) and `rows` (their number).
  // Rows are finite, and so are their squares. codes: n * code_size() bytes, or null to do without
  // errors; they are written.
  void add(const Rows& x, const std::uint32_t* blocks, float* rows, float* sums,
           std::uint8_t* codes, const PerRow& out) const;

 private:
  static constexpr std::size_t kLengths = 3, kErrors = 2;
  struct Scratch {
    std::vector<float> unit, decoded, z, y;
  };
  void add_strip(const Rows& x, const std::uint32_t* blocks, float* sums, std::uint8_t* codes,
                 const PerRow& out, Scratch& scratch) const;
  void project(const Rows& x, float* z, float* y) const;
  float add_moments(const float* z, const float* y, float* sum) const;

  std::shared_ptr<const Codec> codec_;
  std::vector<std::uint32_t> columns_;  // of the codec's basis, each dimension once
  std::vector<float> scales_;           // from a projected query to the coordinate
  std::vector<float> leading_;          // 1 or 0
};

}  // namespace waterfill
