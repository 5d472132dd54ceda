// Two stages: the high nibbles of all vectors through tables in registers, then whole bytes for
// the best candidates.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <memory>
#include <mutex>

#include "coarse.hpp"
#include "kernels.hpp"
#include "reservoir.hpp"
#include "scoring.hpp"
#include "waterfill/index.hpp"
#include "waterfill/parallel.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kQueryBatch = 128;  // queries whose tables exist at a time
constexpr std::size_t kRotatedRows = 16;  // queries that one pass over the basis rotates
constexpr std::size_t kTileBlocks = 32;   // blocks that all queries of a task pass before the next
constexpr std::size_t kFirstBlocks = 8;   // of them at first
constexpr std::size_t kTaskBlocks = 512;  // the least a thread is given of one query's scan

// A query as the two stages want it, but for its coarse tables.
struct Query {
  int exponent = 0;  // it was divided by 2^exponent
  float w = 1;       // 2^-exponent: see scoring.hpp
  CoarseUnit unit;
  std::vector<float> projected;
};

// What a scan keeps of one query.
struct Selection {
  explicit Selection(std::size_t wanted) : best(wanted) {}
  Reservoir best;
  std::array<std::uint16_t, kLimits> limits{};
};

// Everything that one call of search shares between its threads.
class Searcher {
 public:
  Searcher(const IndexFlat& index, const CodeStore& store, const Rows& queries,
           const SearchParams& params)
      : codec_(*index.codec()),
        store_(store),
        layout_(store.layout()),
        queries_(queries),
        k_(params.k),
        wanted_(std::min(std::max(params.candidates, params.k), store.size())),
        euclidean_(index.metric() == Metric::l2),
        scoring_(codec_, index.alpha(), euclidean_, store),
        plan_(codec_, params.scan_groups > 0 ? params.scan_groups : codec_.groups()) {
    for (std::size_t s = 0; s < store.segments().size(); ++s) {
      const std::size_t blocks = (store.segments()[s].size + kBlock - 1) / kBlock;
      for (std::size_t b = 0; b < blocks; b += kTaskBlocks) {
        ranges_.push_back({s, b, std::min(b + kTaskBlocks, blocks)});
      }
    }
  }

  void run(float* distances, std::int64_t* labels) {
    for (std::size_t first = 0; first < queries_.n; first += kQueryBatch) {
      const std::size_t n = std::min(kQueryBatch, queries_.n - first);
      run_batch(first, n, distances + first * k_, labels + first * k_);
    }
  }

 private:
  struct Range {  // blocks of one segment
    std::size_t segment, first, last;
  };

  // Queries of a batch, as many as share a pass over a block, go together.
  struct Batch {
    Batch(std::size_t n, std::size_t lut_bytes) : queries(n), luts(n * lut_bytes) {}
    std::vector<Query> queries;
    std::vector<std::uint8_t> luts;
  };

  // Many queries are shared out between threads, of few each thread searches a part of the index.
  void run_batch(std::size_t first, std::size_t n, float* distances, std::int64_t* labels) {
    Batch batch(n, plan_.lut_bytes());
    parallel_for((n + kRotatedRows - 1) / kRotatedRows, [&](std::size_t i) {
      const std::size_t begin = i * kRotatedRows, end = std::min(begin + kRotatedRows, n);
      prepare(first, begin, end, batch);
    });
    const std::size_t passes = (n + kScanQueries - 1) / kScanQueries;
    std::vector<Candidates> found(n);
    if (wanted_ == store_.size()) {  // nothing to choose: all of them
      for (Candidates& all : found) {
        for (std::size_t i = 0; i < store_.size(); ++i) {
          all.emplace_back(0.0f, static_cast<std::uint32_t>(i));
        }
      }
    } else if (passes < num_threads()) {
      scan_in_parts(batch, (num_threads() + passes - 1) / passes, found);
    } else {
      scan_in_turns(batch, found);
    }
    parallel_for(n, [&](std::size_t i) {
      const float* row = queries_.row(first + i);
      finish(row, batch.queries[i], found[i], distances + i * k_, labels + i * k_);
    });
  }

  void scan_in_turns(const Batch& batch, std::vector<Candidates>& found) const {
    const std::size_t n = found.size();
    // Two turns a thread even out what other work on the machine takes from one of them.
    const std::size_t share = (n + 2 * num_threads() - 1) / (2 * num_threads());
    const std::size_t size = (share + kScanQueries - 1) / kScanQueries * kScanQueries;
    parallel_for((n + size - 1) / size, [&](std::size_t turn) {
      const std::size_t begin = turn * size, end = std::min(begin + size, n);
      std::vector<Selection> own = scan(batch, begin, end, 0, ranges_.size());
      for (std::size_t i = begin; i < end; ++i) found[i] = own[i - begin].best.take();
    });
  }

  void scan_in_parts(const Batch& batch, std::size_t parts, std::vector<Candidates>& found) const {
    const std::size_t n = found.size();
    parts = std::min(parts, ranges_.size());
    std::vector<std::vector<Selection>> pieces(parts);
    parallel_for(parts, [&](std::size_t part) {
      pieces[part] =
          scan(batch, 0, n, ranges_.size() * part / parts, ranges_.size() * (part + 1) / parts);
    });
    for (std::vector<Selection>& piece : pieces) {
      for (std::size_t i = 0; i < n; ++i) {
        const Candidates some = piece[i].best.take();
        found[i].insert(found[i].end(), some.begin(), some.end());
      }
    }
    for (Candidates& all : found) keep_best(all, wanted_);
  }

  // Rotates queries [begin, end) of the batch that starts at row `first`, and makes their tables.
  void prepare(std::size_t first, std::size_t begin, std::size_t end, Batch& batch) const {
    const std::size_t n = end - begin, d = queries_.d, stride = codec_.transform().stride();
    std::vector<float> scaled(n * d), projected(n * stride);
    for (std::size_t i = 0; i < n; ++i) {
      scale(queries_.row(first + begin + i), batch.queries[begin + i], scaled.data() + i * d);
    }
    codec_.transform().queries({scaled.data(), n, d}, projected.data());
    std::vector<float> cells(codec_.groups() * kCells);
    for (std::size_t i = 0; i < n; ++i) {
      Query& query = batch.queries[begin + i];
      const float* own = projected.data() + i * stride;
      query.projected.assign(own, own + stride);
      codec_.cell_tables(own, query.w, cells.data());
      query.unit = quantize_tables(plan_, cells.data(), codec_.groups(),
                                   batch.luts.data() + (begin + i) * plan_.lut_bytes());
    }
  }

  // The row, from the mean if distances are Euclidean, times a power of two that brings the largest
  // number of its scores to 1 or below (and tiny ones nearer to 1).
  void scale(const float* row, Query& query, float* out) const {
    constexpr int kLeast = -60;  // leaves room for what is not of the query's size
    const std::vector<float>& mean = codec_.params().mean;
    float largest = euclidean_ ? scoring_.largest_rho() : 0;  // w rho^2 must not overflow either
    for (std::size_t k = 0; k < queries_.d; ++k) {
      largest = std::max({largest, std::abs(row[k]), euclidean_ ? std::abs(mean[k]) : 0.0f});
    }
    std::frexp(largest, &query.exponent);
    query.exponent = std::max(query.exponent, kLeast);
    query.w = std::ldexp(1.0f, -query.exponent);
    for (std::size_t k = 0; k < queries_.d; ++k) {
      out[k] = row[k] * query.w - (euclidean_ ? mean[k] * query.w : 0.0f);
    }
  }

  // Scans some ranges for queries [begin, end), a tile of blocks at a time.
  std::vector<Selection> scan(const Batch& batch, std::size_t begin, std::size_t end,
                              std::size_t first_range, std::size_t last_range) const {
    std::vector<Selection> selections;
    for (std::size_t q = begin; q < end; ++q) selections.emplace_back(wanted_);
    for (std::size_t r = first_range; r < last_range; ++r) {
      const Range& range = ranges_[r];
      std::size_t blocks = 0;
      for (std::size_t b = range.first; b < range.last; b += blocks) {
        // Short tiles until there is a threshold to speak of: all of a tile see the same one.
        const bool starting = r == first_range && b < range.first + 2 * kTileBlocks;
        blocks = std::min(starting ? kFirstBlocks : kTileBlocks, range.last - b);
        for (std::size_t q = begin; q < end; q += kScanQueries) {
          const std::size_t n = std::min(kScanQueries, end - q);
          scan_tile(batch, q, n, {range.segment, b, b + blocks}, selections.data() + (q - begin));
        }
      }
    }
    return selections;
  }

  void scan_tile(const Batch& batch, std::size_t q, std::size_t n, const Range& tile,
                 Selection* selections) const {
    const Segment& segment = store_.segments()[tile.segment];
    const std::size_t blocks = tile.last - tile.first;
    std::array<std::uint16_t, kScanQueries * kTileBlocks * kBlock> sums;
    kernels().scan(segment.high.data() + tile.first * layout_.block_bytes(), blocks,
                   layout_.block_bytes(), plan_.pairs.data(), plan_.pairs.size(),
                   batch.luts.data() + q * plan_.lut_bytes(), n, sums.data());
    for (std::size_t i = 0; i < n; ++i) {
      offer(batch.queries[q + i], tile, sums.data() + i * blocks * kBlock, selections[i]);
    }
  }

  void offer(const Query& query, const Range& tile, const std::uint16_t* sums,
             Selection& selection) const {
    const Segment& segment = store_.segments()[tile.segment];
    const std::size_t blocks = tile.last - tile.first;
    std::array<std::uint32_t, kTileBlocks> masks;
    kernels().select(sums, segment.scale.data() + tile.first * kBlock, blocks,
                     selection.limits.data(), masks.data());
    if (const std::size_t rest = segment.size % kBlock; tile.last * kBlock > segment.size) {
      masks[blocks - 1] &= (1u << rest) - 1;  // the segment's last block is not full
    }
    static_assert(kTileBlocks <= 32);
    std::uint32_t hit = 0;  // blocks with a vector that passes: most have none
    for (std::size_t b = 0; b < blocks; ++b) hit |= (masks[b] != 0 ? 1u : 0u) << b;
    bool risen = false;
    for (; hit != 0; hit &= hit - 1) {
      const auto b = static_cast<std::size_t>(std::countr_zero(hit));
      for (std::uint32_t left = masks[b]; left != 0; left &= left - 1) {
        const auto lane = static_cast<std::size_t>(std::countr_zero(left));
        const std::size_t v = (tile.first + b) * kBlock + lane;
        const float t =
            query.unit.base + query.unit.step * static_cast<float>(sums[b * kBlock + lane]);
        const float score =
            scoring_.coarse(t, segment.scale[v], euclidean_ ? segment.extra[v] : 0, query.w);
        if (score > selection.best.threshold()) {
          const std::size_t position = tile.segment * CodeStore::kCapacity + v;
          risen |= selection.best.offer(score, static_cast<std::uint32_t>(position));
        }
      }
    }
    if (risen) {
      scoring_.limits(selection.best.threshold(), query.unit, query.w, selection.limits.data());
    }
  }

  // Scores candidates in full, sorts them, and writes what the metric wants.
  void finish(const float* row, const Query& query, Candidates& all, float* distances,
              std::int64_t* labels) const {
    std::sort(all.begin(), all.end(),
              [](Candidate a, Candidate b) { return a.position() < b.position(); });
    const auto tables = std::make_unique_for_overwrite<float[]>(codec_.groups() * kCentroids);
    codec_.full_tables(query.projected.data(), query.w, tables.get());
    scoring_.full(store_, tables.get(), query.w, all);
    const std::size_t found = std::min(k_, all.size());
    std::partial_sort(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(found), all.end(),
                      std::greater<>());
    const double offset = score_offset(row);
    for (std::size_t i = 0; i < k_; ++i) {
      labels[i] = i < found ? std::int64_t{all[i].position()} : -1;
      distances[i] =
          i < found ? distance(all[i].score(), query.exponent, offset) : worst_distance();
    }
  }

  // The part of a distance that depends on the query alone.
  double score_offset(const float* q) const {
    const std::vector<float>& mean = codec_.params().mean;
    double product = 0, squares = 0;
    for (std::size_t k = 0; k < queries_.d; ++k) {
      const double gap = static_cast<double>(q[k]) - mean[k];
      product += static_cast<double>(q[k]) * mean[k];
      squares += gap * gap;
    }
    if (euclidean_) return squares;
    return codec_.params().pq_multiplier > 0 ? 0 : product;
  }

  float distance(float scaled, int exponent, double offset) const {
    constexpr double kLargest = std::numeric_limits<float>::max();
    const double score = std::ldexp(static_cast<double>(scaled), exponent);
    const double value = euclidean_ ? std::max(0.0, offset - score) : offset + score;
    return static_cast<float>(std::clamp(value, -kLargest, kLargest));
  }

  float worst_distance() const {
    const float largest = std::numeric_limits<float>::max();
    return euclidean_ ? largest : -largest;
  }

  const Codec& codec_;
  const CodeStore& store_;
  Layout layout_;
  Rows queries_;
  std::size_t k_, wanted_;
  bool euclidean_;
  Scoring scoring_;
  CoarsePlan plan_;
  std::vector<Range> ranges_;
};

}  // namespace

void IndexFlat::search(const Rows& queries, const SearchParams& params, float* distances,
                       std::int64_t* labels) const {
  require(queries.d == codec_->d(), "x has " + std::to_string(queries.d) +
                                        " dimensions; the index has " +
                                        std::to_string(codec_->d()));
  require(params.k >= 1, "k=0 must be at least 1");
  require(params.scan_groups <= codec_->groups(),
          "scan_groups=" + std::to_string(params.scan_groups) + " must be at most the " +
              std::to_string(codec_->groups()) + " groups of the codec");
  const std::shared_lock lock(mutex_);
  Searcher(*this, store_, queries, params).run(distances, labels);
}

}  // namespace waterfill
