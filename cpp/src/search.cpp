// Two stages: the high nibbles of all vectors through tables in registers, then whole bytes for
// the best candidates. Inside this file a score is "the higher, the better" whatever the metric.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <mutex>

#include "kernels.hpp"
#include "waterfill/index.hpp"
#include "waterfill/parallel.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kQueryBatch = 64;   // queries whose tables exist at a time
constexpr std::size_t kScanBlocks = 64;   // blocks between two looks at the candidates
constexpr std::size_t kTaskBlocks = 512;  // the least a thread is given of one query's scan

struct Candidate {
  float score;
  std::int64_t id;
};

bool better(const Candidate& a, const Candidate& b) {
  return a.score != b.score ? a.score > b.score : a.id < b.id;
}

// The best `capacity` of a stream, without a heap in the inner loop: candidates that beat the
// threshold pile up in twice the room; when it is full the better half stays. Ids must come in
// ascending order for ties to be broken by the smaller id.
class Reservoir {
 public:
  explicit Reservoir(std::size_t capacity) : capacity_(capacity) { kept_.reserve(2 * capacity); }

  float threshold() const { return threshold_; }

  void offer(float score, std::int64_t id) {
    kept_.push_back({score, id});
    if (kept_.size() == 2 * capacity_) shrink();
  }

  std::vector<Candidate> take() {
    if (kept_.size() > capacity_) shrink();
    return std::move(kept_);
  }

 private:
  void shrink() {
    const auto last = kept_.begin() + static_cast<std::ptrdiff_t>(capacity_);
    std::nth_element(kept_.begin(), last - 1, kept_.end(), better);
    threshold_ = kept_[capacity_ - 1].score;
    kept_.erase(last, kept_.end());
  }

  std::size_t capacity_;
  std::vector<Candidate> kept_;
  float threshold_ = -std::numeric_limits<float>::infinity();
};

// How a query's tables and a vector's bytes become a score.
//   product:   s * t            t: sum of table entries
//   euclidean: 2 s t - rho^2
class Scoring {
 public:
  Scoring(const Codec& codec, Alpha alpha, bool coarse_euclidean)
      : codec_(codec), alpha_(alpha), coarse_euclidean_(coarse_euclidean) {
    const CodecParams& p = codec.params();
    for (std::size_t code = 0; code < 256; ++code) {
      const auto byte = static_cast<std::uint8_t>(code);
      const float squares = p.cell_length[byte];
      rho_factor_[code] = length_power(squares, p.alpha_ip);
      scale_factor_[code] = rho_factor_[code] / length_power(squares, alpha);
    }
  }

  // Scores of `n` <= 32 vectors from the sums of one block.
  void coarse(const float* t, const std::uint8_t* scale, const std::uint8_t* extra, std::size_t n,
              float* scores) const {
    const LogScale& values = codec_.params().scale;
    if (!coarse_euclidean_) {
      for (std::size_t v = 0; v < n; ++v) scores[v] = values[scale[v]] * t[v];
      return;
    }
    for (std::size_t v = 0; v < n; ++v) {
      const float z = values[scale[v]];
      const float rho = z * rho_factor_[extra[v]];
      scores[v] = 2 * z * scale_factor_[extra[v]] * t[v] - rho * rho;
    }
  }

  // Whole bytes always know rho, so L2 is scored as such whatever the coarse stage did.
  float full(const float* tables, const std::uint8_t* code, bool euclidean) const {
    float t = 0;
    for (std::size_t g = 0; g < codec_.groups(); ++g) t += tables[g * kCentroids + code[g]];
    const float rho =
        codec_.distance_from_mean(code[codec_.groups()], codec_.squared_cell_length(code));
    const float s = rho / length_power(codec_.squared_length(code), alpha_);
    return euclidean ? 2 * s * t - rho * rho : s * t;
  }

 private:
  const Codec& codec_;
  Alpha alpha_;
  bool coarse_euclidean_;
  std::array<float, 256> rho_factor_, scale_factor_;
};

struct Query {
  std::vector<float> full;         // groups * 256
  std::vector<std::uint8_t> luts;  // padded groups * 16
  float step = 0, base = 0;        // t ~ base + step * sum of lut entries
};

// Bytes for the coarse tables: each group from its own smallest entry up, in steps that all groups
// share, so that sums of bytes are sums of entries.
void quantize_tables(const float* cells, const Layout& layout, Query& query) {
  float widest = 0;
  std::vector<float> lowest(layout.groups);
  query.base = 0;
  for (std::size_t g = 0; g < layout.groups; ++g) {
    const auto [low, high] = std::minmax_element(cells + g * kCells, cells + (g + 1) * kCells);
    lowest[g] = *low;
    query.base += *low;
    widest = std::max(widest, *high - *low);
  }
  query.step = widest / 255;
  const float inverse = widest > 0 ? 255 / widest : 0;
  query.luts.assign(layout.padded * kCells, 0);
  for (std::size_t i = 0; i < layout.groups * kCells; ++i) {
    const float steps = std::nearbyint((cells[i] - lowest[i / kCells]) * inverse);
    query.luts[i] = static_cast<std::uint8_t>(std::clamp(steps, 0.0f, 255.0f));
  }
}

// Everything that one call of search shares between its threads.
class Searcher {
 public:
  Searcher(const IndexFlat& index, const CodeStore& store, const Rows& queries,
           const SearchParams& params)
      : codec_(*index.codec()),
        metric_(index.metric()),
        store_(store),
        layout_(store.layout()),
        queries_(queries),
        k_(params.k),
        wanted_(std::min(std::max(params.candidates, params.k), store.size())),
        euclidean_(metric_ == Metric::l2),
        coarse_euclidean_(index.keeps_cell_length()),
        scoring_(codec_, index.alpha(), coarse_euclidean_) {
    for (std::size_t s = 0; s < store.segments().size(); ++s) {
      const std::size_t blocks = blocks_of(store.segments()[s]);
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

  static std::size_t blocks_of(const Segment& s) { return (s.size + kBlock - 1) / kBlock; }

  // Few queries are split over parts of the index, many are not.
  void run_batch(std::size_t first, std::size_t n, float* distances, std::int64_t* labels) {
    std::vector<Query> batch(n);
    parallel_for(n, [&](std::size_t i) { prepare(queries_.row(first + i), batch[i]); });
    std::size_t parts = 1;
    if (n < num_threads() && wanted_ < store_.size()) {
      parts = std::clamp<std::size_t>((num_threads() + n - 1) / n, 1, ranges_.size());
    }
    std::vector<std::vector<Candidate>> found(n * parts);
    parallel_for(n * parts, [&](std::size_t task) {
      found[task] = candidates(batch[task / parts], task % parts, parts);
    });
    parallel_for(n, [&](std::size_t i) {
      std::vector<Candidate> all;
      for (std::size_t part = 0; part < parts; ++part) {
        const std::vector<Candidate>& some = found[i * parts + part];
        all.insert(all.end(), some.begin(), some.end());
      }
      finish(queries_.row(first + i), batch[i], all, distances + i * k_, labels + i * k_);
    });
  }

  void prepare(const float* row, Query& query) const {
    std::vector<float> projected(codec_.transform().stride());
    codec_.transform().queries({row, 1, queries_.d}, euclidean_, projected.data());
    query.full.resize(codec_.groups() * kCentroids);
    std::vector<float> cells(codec_.groups() * kCells);
    codec_.tables(projected.data(), query.full.data(), cells.data());
    if (euclidean_ != coarse_euclidean_) {  // constant norms: nearest is highest inner product
      codec_.transform().queries({row, 1, queries_.d}, false, projected.data());
      codec_.cell_tables(projected.data(), cells.data());
    }
    quantize_tables(cells.data(), layout_, query);
  }

  std::vector<Candidate> candidates(const Query& query, std::size_t part, std::size_t parts) const {
    if (wanted_ == store_.size()) {  // nothing to choose: all of them
      std::vector<Candidate> all(store_.size());
      for (std::size_t i = 0; i < all.size(); ++i) all[i] = {0, static_cast<std::int64_t>(i)};
      return all;
    }
    Reservoir best(wanted_);
    const std::size_t end = ranges_.size() * (part + 1) / parts;
    for (std::size_t r = ranges_.size() * part / parts; r < end; ++r) scan(query, ranges_[r], best);
    return best.take();
  }

  void scan(const Query& query, const Range& range, Reservoir& best) const {
    const Segment& segment = store_.segments()[range.segment];
    std::array<float, kScanBlocks * kBlock> t;
    for (std::size_t b = range.first; b < range.last; b += kScanBlocks) {
      const std::size_t blocks = std::min(kScanBlocks, range.last - b);
      sum_tables(query, segment.high.data() + b * layout_.block_bytes(), blocks, t.data());
      for (std::size_t i = 0; i < blocks; ++i) {
        const std::size_t v = (b + i) * kBlock, n = std::min(kBlock, segment.size - v);
        std::array<float, kBlock> scores;
        scoring_.coarse(t.data() + i * kBlock, segment.scale.data() + v,
                        coarse_euclidean_ ? segment.extra.data() + v : nullptr, n, scores.data());
        const auto id = static_cast<std::int64_t>(range.segment * CodeStore::kCapacity + v);
        for (std::size_t j = 0; j < n; ++j) {
          if (scores[j] > best.threshold()) {
            best.offer(scores[j], id + static_cast<std::int64_t>(j));
          }
        }
      }
    }
  }

  void sum_tables(const Query& query, const std::uint8_t* planes, std::size_t blocks,
                  float* t) const {
    std::array<std::uint16_t, kScanBlocks * kBlock> sums;
    std::fill_n(t, blocks * kBlock, query.base);
    for (std::size_t g = 0; g < layout_.padded; g += kMaxScanGroups) {
      kernels().scan(planes + g * 16, blocks, layout_.block_bytes(),
                     std::min(kMaxScanGroups, layout_.padded - g), query.luts.data() + g * kCells,
                     sums.data());
      for (std::size_t v = 0; v < blocks * kBlock; ++v) {
        t[v] += query.step * static_cast<float>(sums[v]);
      }
    }
  }

  // Merges the parts' candidates, scores them in full, sorts, and writes what the metric wants.
  void finish(const float* row, const Query& query, std::vector<Candidate>& all, float* distances,
              std::int64_t* labels) const {
    if (all.size() > wanted_) {
      const auto last = all.begin() + static_cast<std::ptrdiff_t>(wanted_);
      std::nth_element(all.begin(), last - 1, all.end(), better);
      all.erase(last, all.end());
    }
    std::vector<std::uint8_t> code(codec_.code_size());
    for (Candidate& candidate : all) {
      store_.read(static_cast<std::size_t>(candidate.id), code.data());
      candidate.score = scoring_.full(query.full.data(), code.data(), euclidean_);
    }
    const std::size_t found = std::min(k_, all.size());
    std::partial_sort(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(found), all.end(),
                      better);
    const double offset = score_offset(row);
    for (std::size_t i = 0; i < k_; ++i) {
      labels[i] = i < found ? all[i].id : -1;
      distances[i] = i < found ? distance(all[i].score, offset) : worst_distance();
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

  float distance(float score, double offset) const {
    return static_cast<float>(euclidean_ ? std::max(0.0, offset - score) : offset + score);
  }

  float worst_distance() const {
    const float largest = std::numeric_limits<float>::max();
    return euclidean_ ? largest : -largest;
  }

  const Codec& codec_;
  Metric metric_;
  const CodeStore& store_;
  Layout layout_;
  Rows queries_;
  std::size_t k_, wanted_;
  bool euclidean_, coarse_euclidean_;
  Scoring scoring_;
  std::vector<Range> ranges_;
};

}  // namespace

void IndexFlat::search(const Rows& queries, const SearchParams& params, float* distances,
                       std::int64_t* labels) const {
  require(queries.d == codec_->d(), "x has " + std::to_string(queries.d) +
                                        " dimensions; the index has " +
                                        std::to_string(codec_->d()));
  require(params.k >= 1, "k=0 must be at least 1");
  const std::shared_lock lock(mutex_);
  Searcher(*this, store_, queries, params).run(distances, labels);
}

}  // namespace waterfill
