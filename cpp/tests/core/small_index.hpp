// A small codec and vectors for tests of the index, made without training.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/random.hpp"
#include "waterfill/codec/codec.hpp"
#include "waterfill/index/refine_rows.hpp"

namespace waterfill {

inline constexpr std::size_t kDims = 4, kLists = 3;

// A codec with one centroid grid per dimension, and cells around three points.
inline std::shared_ptr<const Codec> make_codec(bool with_cells) {
  CodecParams params;
  params.mean.assign(kDims, 0.0f);
  params.basis.assign(kDims * kDims, 0.0f);
  for (std::size_t j = 0; j < kDims; ++j) params.basis[j * kDims + j] = 1;
  params.weights.assign(kDims, 1.0f);
  params.shapes.assign(kDims, {1, GroupKind::vector});
  for (std::size_t j = 0; j < kDims; ++j) {
    for (int c = 0; c < 256; ++c) {
      params.codebooks.books.push_back((static_cast<float>(c) - 127.5f) / 128);
    }
    for (int h = 0; h < 16; ++h) {
      params.codebooks.cells.push_back((static_cast<float>(h) - 7.5f) / 8);
    }
  }
  params.scale = params.cell_length = LogScale::covering(0.1, 4, 2);
  if (with_cells) {
    const std::vector<float> centroids{1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 1};
    params.partition = Partition(centroids, params.mean);
    params.offset = OffsetScale(1, 1, 1);
  }
  return std::make_shared<const Codec>(std::move(params));
}

struct Batch {
  std::vector<float> x;
  std::vector<std::uint8_t> codes;
  std::vector<std::int64_t> ids;

  Rows rows() const { return {x.data(), ids.size(), kDims}; }
};

inline Batch make_batch(const Codec& codec, std::size_t n, Random& random) {
  Batch batch;
  for (std::size_t i = 0; i < n * kDims; ++i) {
    batch.x.push_back(static_cast<float>(2 * random.uniform() - 1));
  }
  for (std::size_t i = 0; i < n; ++i) {
    batch.ids.push_back(static_cast<std::int64_t>(random.next() % 1000));
  }
  batch.codes.resize(n * codec.code_size());
  codec.encode(batch.rows(), batch.codes.data());
  return batch;
}

inline RefineRows refine_rows(const Batch& batch) {
  RefineRows rows(RowKind::float16, kDims);
  rows.append(batch.rows());
  return rows;
}

}  // namespace waterfill
