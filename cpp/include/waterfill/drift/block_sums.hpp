// Sums of features over blocks of rows, from which a drift monitor tells what has changed.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "waterfill/codec/codec.hpp"

namespace waterfill {

// The features of a row x, with z = x - mean:
//   z (d values), z^2 (d), y^2 (one per dimension of the codec's eigenbasis, in code order),
//   |x|, |x|^2, |z|^2, and the errors of the decoded vector, |z - z_hat|^2 / |z|^2 and
//   |z - z_hat|^2, which are 0 if errors are not requested.
class BlockSums {
 public:
  // leading: flags of the eigenbasis dimensions that count as leading.
  BlockSums(std::shared_ptr<const Codec> codec, const std::vector<std::uint8_t>& leading);

  std::size_t directions() const { return columns_.size(); }
  std::size_t code_size() const { return codec_->code_size(); }
  std::size_t features() const { return 2 * codec_->d() + columns_.size() + kNorms + kErrors; }

  // Statistics of each row.
  struct PerRow {
    float* norms;    // |x|
    float* outside;  // share of |z|^2 outside the leading dimensions
  };
  // Adds row i to block blocks[i] of `sums` (features() values per block) and of `rows` (row
  // counts). Rows and their squares must be finite. codes: receives n * code_size() bytes, or null
  // to skip the errors.
  void add(const Rows& x, const std::uint32_t* blocks, float* rows, float* sums,
           std::uint8_t* codes, const PerRow& out) const;

 private:
  static constexpr std::size_t kNorms = 3, kErrors = 2;
  struct Scratch {
    std::vector<float> unit, decoded, z, y;
  };
  void add_strip(const Rows& x, const std::uint32_t* blocks, float* sums, std::uint8_t* codes,
                 const PerRow& out, Scratch& scratch) const;
  void project(const Rows& x, float* z, float* y) const;
  float add_moments(const float* z, const float* y, float* sum) const;

  std::shared_ptr<const Codec> codec_;
  std::vector<std::uint32_t> columns_;  // of the basis, each dimension once
  std::vector<float> scales_;           // from a projected query to the coordinate
  std::vector<float> leading_;          // 1 or 0
};

}  // namespace waterfill
