// Two stages: the high nibbles of the vectors through tables in registers, then whole bytes for
// the best candidates. With cells a search opens with the lists nearest to the query, which show
// what a candidate must score, and passes by the lists whose vectors cannot.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <memory>
#include <mutex>

#include "coarse.hpp"
#include "kernels.hpp"
#include "query.hpp"
#include "reservoir.hpp"
#include "scoring.hpp"
#include "waterfill/index.hpp"
#include "waterfill/parallel.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kQueryBatch = 128;  // queries whose tables exist at a time
constexpr std::size_t kTileBlocks = 32;   // blocks that all queries of a task pass before the next
constexpr std::size_t kFirstBlocks = 8;   // of them at first
constexpr std::size_t kTaskBlocks = 512;  // the least a thread is given of one query's scan
constexpr std::size_t kFewestOpened = 4;  // lists that a search opens with
constexpr std::size_t kOpenedCandidates = 2;  // times the candidates wanted are in them, or more

// Blocks of one segment of a list.
struct Range {
  std::size_t list, segment, first, last;
};

// What a scan keeps of one query.
struct Selection {
  Selection(std::size_t wanted, float threshold) : best(wanted, threshold) {}
  Reservoir best;
  std::array<std::uint16_t, kLimits> limits{};
  std::size_t list = ~std::size_t{0};  // that the limits are for
};

// A query's first lists: what they gave, and which lists are left.
struct Opening {
  Candidates found;
  float threshold = -std::numeric_limits<float>::infinity();
  std::vector<std::uint32_t> lists;  // ascending
};

// Everything that one call of search shares between its threads.
class Searcher {
 public:
  Searcher(const Codec& codec, const CodeStore& store, const Scoring& scoring,
           const PackedMatrix& centroids, const Rows& queries, const SearchParams& params)
      : codec_(codec),
        store_(store),
        scoring_(scoring),
        centroids_(centroids),
        queries_(queries),
        k_(params.k),
        wanted_(std::min(std::max(params.candidates, params.k), store.size())),
        reach_(params.reach),
        plan_(codec, params.scan_groups > 0 ? params.scan_groups : codec.groups()) {
    for (std::size_t l = 0; l < store.lists().size(); ++l) {
      const std::vector<Segment>& segments = store.lists()[l].segments;
      for (std::size_t s = 0; s < segments.size(); ++s) add_ranges(l, s, segments[s].size);
    }
  }

  void run(float* distances, std::int64_t* labels) {
    for (std::size_t first = 0; first < queries_.n; first += kQueryBatch) {
      const std::size_t n = std::min(kQueryBatch, queries_.n - first);
      run_batch({queries_.row(first), n, queries_.d}, distances + first * k_, labels + first * k_);
    }
  }

 private:
  void add_ranges(std::size_t list, std::size_t segment, std::size_t size) {
    const std::size_t blocks = (size + kBlock - 1) / kBlock;
    for (std::size_t b = 0; b < blocks; b += kTaskBlocks) {
      ranges_.push_back({list, segment, b, std::min(b + kTaskBlocks, blocks)});
    }
  }

  // Many queries are shared out between threads, of few each thread searches a part of the index.
  void run_batch(const Rows& rows, float* distances, std::int64_t* labels) {
    const QueryBatch batch(codec_, scoring_, plan_, centroids_, rows);
    const std::size_t n = rows.n, passes = (n + kScanQueries - 1) / kScanQueries;
    std::vector<Candidates> found(n);
    if (wanted_ == store_.size()) {  // nothing to choose: all of them
      for (Candidates& all : found) {
        for (std::size_t i = 0; i < store_.size(); ++i) {
          all.emplace_back(0.0f, static_cast<std::uint32_t>(i));
        }
      }
    } else {
      std::vector<Opening> openings(n);
      parallel_for(n, [&](std::size_t i) { openings[i] = open(batch, i); });
      if (passes < num_threads()) {
        scan_in_parts(batch, openings, (num_threads() + passes - 1) / passes, found);
      } else {
        scan_in_turns(batch, openings, found);
      }
    }
    parallel_for(n, [&](std::size_t i) {
      finish(rows.row(i), batch, i, found[i], distances + i * k_, labels + i * k_);
    });
  }

  void scan_in_turns(const QueryBatch& batch, std::vector<Opening>& openings,
                     std::vector<Candidates>& found) const {
    const std::size_t n = found.size();
    // Two turns a thread even out what other work on the machine takes from one of them.
    const std::size_t share = (n + 2 * num_threads() - 1) / (2 * num_threads());
    const std::size_t size = (share + kScanQueries - 1) / kScanQueries * kScanQueries;
    parallel_for((n + size - 1) / size, [&](std::size_t turn) {
      const std::size_t begin = turn * size, end = std::min(begin + size, n);
      std::vector<Selection> own = scan(batch, openings, begin, end, 0, ranges_.size());
      for (std::size_t i = begin; i < end; ++i) {
        found[i] = std::move(openings[i].found);
        add(own[i - begin], found[i]);
        keep_best(found[i], wanted_);
      }
    });
  }

  void scan_in_parts(const QueryBatch& batch, std::vector<Opening>& openings, std::size_t parts,
                     std::vector<Candidates>& found) const {
    const std::size_t n = found.size();
    parts = std::min(parts, ranges_.size());
    std::vector<std::vector<Selection>> pieces(parts);
    parallel_for(parts, [&](std::size_t part) {
      pieces[part] = scan(batch, openings, 0, n, ranges_.size() * part / parts,
                          ranges_.size() * (part + 1) / parts);
    });
    for (std::size_t i = 0; i < n; ++i) {
      found[i] = std::move(openings[i].found);
      for (std::vector<Selection>& piece : pieces) add(piece[i], found[i]);
      keep_best(found[i], wanted_);
    }
  }

  static void add(Selection& selection, Candidates& all) {
    const Candidates some = selection.best.take();
    all.insert(all.end(), some.begin(), some.end());
  }

  // Scans the lists nearest to a query. Alone, so that what is left does not depend on threads or
  // on other queries.
  Opening open(const QueryBatch& batch, std::size_t q) const {
    Opening opening;
    const std::size_t lists = store_.lists().size();
    if (lists == 1) {
      opening.lists = {0};
      return opening;
    }
    const float* bases = batch.bases(q);
    const Query& query = batch[q];
    const float t = reach_ * query.deviation;
    Candidates order;
    for (std::size_t l = 0; l < lists; ++l) {
      if (store_.lists()[l].size == 0) continue;
      order.emplace_back(scoring_.best_of_list(l, bases[l], query.deviation, query.w),
                         static_cast<std::uint32_t>(l));
    }
    std::vector<bool> opened(lists, false);
    Selection selection(wanted_, opening.threshold);
    std::make_heap(order.begin(), order.end(), std::not_fn(std::greater<>()));
    for (std::size_t count = 0, vectors = 0;
         !order.empty() && (count < kFewestOpened || vectors < kOpenedCandidates * wanted_);
         ++count) {
      std::pop_heap(order.begin(), order.end(), std::not_fn(std::greater<>()));
      const std::size_t list = order.back().position();
      order.pop_back();
      opened[list] = true;
      vectors += store_.lists()[list].size;
      scan_list(batch, q, list, selection);
    }
    selection.best.settle();
    opening.threshold = selection.best.threshold();
    for (std::size_t l = 0; l < lists; ++l) {
      if (opened[l] || store_.lists()[l].size == 0) continue;
      if (scoring_.best_of_list(l, bases[l], t, query.w) > opening.threshold) {
        opening.lists.push_back(static_cast<std::uint32_t>(l));
      }
    }
    opening.found = selection.best.take();
    return opening;
  }

  void scan_list(const QueryBatch& batch, std::size_t q, std::size_t list,
                 Selection& selection) const {
    const std::vector<Segment>& segments = store_.lists()[list].segments;
    for (std::size_t s = 0; s < segments.size(); ++s) {
      const std::size_t blocks = (segments[s].size + kBlock - 1) / kBlock;
      for (std::size_t b = 0; b < blocks; b += kTileBlocks) {
        Selection* const selections[] = {&selection};
        scan_tile(batch, &q, 1, {list, s, b, std::min(b + kTileBlocks, blocks)}, selections);
      }
    }
  }

  // Scans some ranges for queries [begin, end), a tile of blocks at a time.
  std::vector<Selection> scan(const QueryBatch& batch, const std::vector<Opening>& openings,
                              std::size_t begin, std::size_t end, std::size_t first_range,
                              std::size_t last_range) const {
    std::vector<Selection> selections;
    for (std::size_t q = begin; q < end; ++q) {
      selections.emplace_back(wanted_, openings[q].threshold);
    }
    const Wishes wishes(openings, begin, end, store_.lists().size());
    for (std::size_t r = first_range; r < last_range; ++r) {
      const Range& range = ranges_[r];
      const auto [first, last] = wishes.of(range.list);
      if (first == last) continue;
      std::size_t blocks = 0;
      for (std::size_t b = range.first; b < range.last; b += blocks) {
        // Short tiles until there is a threshold to speak of: all of a tile see the same one.
        const bool starting = r == first_range && b < range.first + 2 * kTileBlocks;
        blocks = std::min(starting ? kFirstBlocks : kTileBlocks, range.last - b);
        for (const std::size_t* q = first; q < last; q += kScanQueries) {
          const std::size_t n = std::min(kScanQueries, static_cast<std::size_t>(last - q));
          std::array<Selection*, kScanQueries> own{};
          for (std::size_t i = 0; i < n; ++i) own[i] = &selections[q[i] - begin];
          scan_tile(batch, q, n, {range.list, range.segment, b, b + blocks}, own.data());
        }
      }
    }
    return selections;
  }

  // For each list the queries that want it.
  class Wishes {
   public:
    Wishes(const std::vector<Opening>& openings, std::size_t begin, std::size_t end,
           std::size_t lists)
        : starts_(lists + 1, 0) {
      for (std::size_t q = begin; q < end; ++q) {
        for (const std::uint32_t list : openings[q].lists) ++starts_[list + 1];
      }
      for (std::size_t l = 0; l < lists; ++l) starts_[l + 1] += starts_[l];
      queries_.resize(starts_[lists]);
      std::vector<std::size_t> next(starts_.begin(), starts_.end() - 1);
      for (std::size_t q = begin; q < end; ++q) {
        for (const std::uint32_t list : openings[q].lists) queries_[next[list]++] = q;
      }
    }

    std::pair<const std::size_t*, const std::size_t*> of(std::size_t list) const {
      return {queries_.data() + starts_[list], queries_.data() + starts_[list + 1]};
    }

   private:
    std::vector<std::size_t> starts_, queries_;
  };

  void scan_tile(const QueryBatch& batch, const std::size_t* queries, std::size_t n,
                 const Range& tile, Selection* const* selections) const {
    const Segment& segment = store_.lists()[tile.list].segments[tile.segment];
    const std::size_t blocks = tile.last - tile.first, stride = store_.layout().block_bytes();
    std::array<const std::uint8_t*, kScanQueries> luts{};
    for (std::size_t i = 0; i < n; ++i) luts[i] = batch.luts(queries[i]);
    std::array<std::uint16_t, kScanQueries * kTileBlocks * kBlock> sums;
    kernels().scan(segment.high.data() + tile.first * stride, blocks, stride, plan_.pairs.data(),
                   plan_.pairs.size(), luts.data(), n, sums.data());
    for (std::size_t i = 0; i < n; ++i) {
      const std::size_t q = queries[i];
      offer(batch[q], batch.bases(q)[tile.list], tile, sums.data() + i * blocks * kBlock,
            *selections[i]);
    }
  }

  void offer(const Query& query, float base, const Range& tile, const std::uint16_t* sums,
             Selection& selection) const {
    const Segment& segment = store_.lists()[tile.list].segments[tile.segment];
    const std::size_t blocks = tile.last - tile.first;
    if (selection.list != tile.list) {
      selection.list = tile.list;
      set_limits(query, base, selection);
    }
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
    const std::size_t start = store_.start(tile.list) + tile.segment * CodeStore::kCapacity;
    for (; hit != 0; hit &= hit - 1) {
      const auto b = static_cast<std::size_t>(std::countr_zero(hit));
      for (std::uint32_t left = masks[b]; left != 0; left &= left - 1) {
        const auto lane = static_cast<std::size_t>(std::countr_zero(left));
        const std::size_t v = (tile.first + b) * kBlock + lane;
        const float t =
            query.unit.base + query.unit.step * static_cast<float>(sums[b * kBlock + lane]);
        const std::uint8_t extra = scoring_.euclidean() ? segment.extra[v] : std::uint8_t{0};
        const float score = scoring_.coarse(tile.list, base, t, segment.scale[v], extra, query.w);
        if (score > selection.best.threshold()) {
          risen |= selection.best.offer(score, static_cast<std::uint32_t>(start + v));
        }
      }
    }
    if (risen) set_limits(query, base, selection);
  }

  void set_limits(const Query& query, float base, Selection& selection) const {
    scoring_.limits(selection.list, base, selection.best.threshold(), query.unit, query.w,
                    selection.limits.data());
  }

  // Scores candidates in full, sorts them, and writes what the metric wants.
  void finish(const float* row, const QueryBatch& batch, std::size_t q, Candidates& all,
              float* distances, std::int64_t* labels) const {
    const Query& query = batch[q];
    std::sort(all.begin(), all.end(),
              [](Candidate a, Candidate b) { return a.position() < b.position(); });
    const auto tables = std::make_unique_for_overwrite<float[]>(codec_.groups() * kCentroids);
    codec_.full_tables(query.projected.data(), query.w, tables.get());
    scoring_.full(store_, tables.get(), batch.bases(q), query.w, all);
    const std::size_t found = std::min(k_, all.size());
    const Candidates best = by_label(all, found);
    const double offset = score_offset(row);
    for (std::size_t i = 0; i < k_; ++i) {
      labels[i] = i < found ? std::int64_t{best[i].position()} : -1;
      distances[i] =
          i < found ? distance(best[i].score(), query.exponent, offset) : worst_distance();
    }
  }

  // The best n, best first, and those that score as the last of them: by label instead of slot.
  Candidates by_label(const Candidates& all, std::size_t n) const {
    if (n == 0) return {};
    Candidates best(all);
    keep_best(best, n);
    const float last = best.back().score();
    best.clear();
    std::size_t list = 0;
    for (const Candidate& one : all) {
      if (one.score() < last) continue;
      const Place place = store_.locate_from(list, one.position());
      list = place.list;
      best.emplace_back(one.score(), store_.label(list, one.position() - store_.start(list)));
    }
    std::sort(best.begin(), best.end(), std::greater<>());
    return best;
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
    if (scoring_.euclidean()) return squares;
    return codec_.params().pq_multiplier > 0 ? 0 : product;
  }

  float distance(float scaled, int exponent, double offset) const {
    constexpr double kLargest = std::numeric_limits<float>::max();
    const double score = std::ldexp(static_cast<double>(scaled), exponent);
    const double value = scoring_.euclidean() ? std::max(0.0, offset - score) : offset + score;
    return static_cast<float>(std::clamp(value, -kLargest, kLargest));
  }

  float worst_distance() const {
    const float largest = std::numeric_limits<float>::max();
    return scoring_.euclidean() ? largest : -largest;
  }

  const Codec& codec_;
  const CodeStore& store_;
  const Scoring& scoring_;
  const PackedMatrix& centroids_;
  Rows queries_;
  std::size_t k_, wanted_;
  float reach_;
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
  require(params.reach >= 0, "reach must not be negative");
  const std::shared_lock lock(mutex_);
  Searcher(*codec_, store_, *scoring_, centroids_, queries, params).run(distances, labels);
}

}  // namespace waterfill
