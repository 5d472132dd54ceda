// Training of codebooks: k-means per group, then an order of the centroids whose high nibble is a
// coarse code.
#pragma once

#include <cstdint>
#include <vector>

#include "training/kmeans.hpp"
#include "waterfill/codec/codebooks.hpp"
#include "waterfill/codec/fixed_point.hpp"

namespace waterfill {

// What `train_codebooks` counts of the work of training, about in proportion to its time.
inline constexpr std::uint64_t kCodebookWork = 600'000;

// y: rows of sum(width) values, the dimensions of each group side by side. The columns of
// `second_bytes` are filled in. The result depends only on the rows, the shapes and the seed.
Codebooks train_codebooks(std::vector<float>& y, const std::vector<Shape>& shapes,
                          const std::vector<SecondByte>& second_bytes, std::uint64_t seed,
                          int iterations);

// The same for coordinates that are all distributed alike: groups of one shape share a codebook.
Codebooks train_shared_codebooks(const std::vector<float>& y, const std::vector<Shape>& shapes,
                                 std::uint64_t seed, int iterations);

// The codebooks of all groups while a device trains them: KMeans of each, step by step, for many
// groups at once. `train_codebooks` gives the same.
class CodebookTraining {
 public:
  using Groups = std::vector<std::uint32_t>;  // their numbers

  CodebookTraining(const std::vector<Shape>& shapes, std::size_t n, std::uint64_t seed,
                   int iterations);

  const KMeans& run(std::size_t group) const { return runs_[group]; }
  const std::vector<std::size_t>& offsets() const { return offsets_; }
  // seeds: every seed_step()-th row, all columns. histograms: of groups of one dimension.
  void start(const Groups& groups, const std::vector<ValueRange>& ranges, const Rows& seeds,
             const std::vector<std::vector<std::uint32_t>>& histograms);
  // Those of the groups whose next step is for the same rows; none when all are done.
  Groups next(const Groups& groups) const;
  std::vector<Int16Codebook> books(const Groups& groups) const;
  void update(const Groups& groups, std::vector<CentroidSums> sums);
  void repair(std::size_t group, const std::vector<float>& rows);
  const Codebooks& result() const { return result_; }  // of the groups that are done

 private:
  void keep_if_done(std::size_t group);

  std::vector<std::size_t> offsets_;
  std::vector<KMeans> runs_;
  Codebooks result_;
};

}  // namespace waterfill
