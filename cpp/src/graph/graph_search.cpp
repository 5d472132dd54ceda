// Searches of a graph.
#include <algorithm>
#include <cmath>

#include "graph/graph_scratch.hpp"
#include "waterfill/core/interruption.hpp"
#include "waterfill/core/prefetch.hpp"
#include "waterfill/graph/graph.hpp"

namespace waterfill {
namespace {

// Deviations by which the full score of a row may exceed that of its front.
constexpr float kSpread = 1.5f;
constexpr std::size_t kEntries = 4;     // hubs that a search starts at
constexpr double kScanCost = 1.0 / 24;  // of a row in a scan, in that of following a row's links

bool before(const GraphResult& a, const GraphResult& b) {
  return a.score != b.score ? a.score > b.score : a.row < b.row;
}

// Clears what a search has seen, also after an exception.
class Visit {
 public:
  Visit(SeenRows& seen, std::size_t n) : seen_(seen) { seen_.prepare(n); }
  ~Visit() { seen_.clear(); }
  Visit(const Visit&) = delete;
  Visit& operator=(const Visit&) = delete;

 private:
  SeenRows& seen_;
};

std::size_t count_bits(const Bits& bits) {
  std::size_t count = 0;
  for (const std::uint64_t word : bits) {
    count += static_cast<std::size_t>(__builtin_popcountll(word));
  }
  return count;
}

}  // namespace

std::vector<GraphResult> Graph::search(const float* y, std::size_t k, std::size_t effort,
                                       const Bits* allowed) const {
  throw_if_interrupted();
  GraphScratch& scratch = GraphScratch::own();
  rows_.prepare(y, scratch.query);
  effort = std::min(std::max(effort, k), size());
  if (size() == 0 || k == 0) return {};
  if (allowed != nullptr) {
    // As many of the allowed rows as without a filter should be in the beam. A scan of all allowed
    // rows takes less time if they are few.
    const std::size_t count = count_bits(*allowed);
    const double wide = static_cast<double>(effort) * static_cast<double>(size()) /
                        static_cast<double>(std::max<std::size_t>(count, 1));
    if (static_cast<double>(count) * kScanCost <= wide) return scan(scratch.query, k, *allowed);
    effort = std::min(size(), static_cast<std::size_t>(std::ceil(wide)));
  }
  visit(scratch.query, effort, scratch);
  std::vector<GraphResult> found;
  for (const GraphBeam::Entry& entry : scratch.beam.entries()) {
    if (allowed != nullptr && !test_bit(*allowed, entry.row)) continue;
    if (found.size() >= k && entry.score < found.back().score) break;
    found.push_back({entry.score, entry.row});
  }
  std::sort(found.begin(), found.end(), before);
  if (found.size() > k) found.resize(k);
  return found;
}

std::vector<GraphResult> Graph::search_above(const float* y, float threshold,
                                             const Bits* allowed) const {
  throw_if_interrupted();
  GraphQuery query;
  rows_.prepare(y, query);
  std::vector<GraphResult> found;
  for (std::size_t row = 0; row < size(); ++row) {
    if (allowed != nullptr && !test_bit(*allowed, row)) continue;
    const float score = rows_.score(query, row);
    if (score > threshold) found.push_back({score, static_cast<std::uint32_t>(row)});
  }
  return found;
}

std::vector<GraphResult> Graph::scan(const GraphQuery& query, std::size_t k,
                                     const Bits& allowed) const {
  std::vector<GraphResult> found;
  for (std::size_t word = 0; word < allowed.size(); ++word) {
    for (std::uint64_t bits = allowed[word]; bits != 0; bits &= bits - 1) {
      const auto bit = static_cast<std::size_t>(__builtin_ctzll(bits));
      const auto row = static_cast<std::uint32_t>(word * kBitsPerWord + bit);
      found.push_back({rows_.score(query, row), row});
    }
  }
  const std::size_t kept = std::min(k, found.size());
  std::partial_sort(found.begin(), found.begin() + static_cast<std::ptrdiff_t>(kept), found.end(),
                    before);
  found.resize(kept);
  return found;
}

// While the rest of rows is on its way from memory, the links of the next row are read and the
// fronts of what they lead to are fetched. So the next row is chosen before those rows are in the
// beam.
void Graph::visit(const GraphQuery& query, std::size_t effort, GraphScratch& scratch) const {
  const Visit visit(scratch.seen, size());
  scratch.beam.clear(effort);
  scratch.waiting.clear();
  enter(query, scratch);
  while (true) {
    GraphBeam::Entry* entry = scratch.beam.next();
    if (entry == nullptr && scratch.waiting.empty()) return;
    std::size_t count = 0;
    if (entry != nullptr) {
      entry->followed = 1;
      count = gather(entry->row, scratch);
    }
    for (const GraphResult& one : scratch.waiting) {
      if (!(one.score > scratch.beam.threshold())) continue;
      scratch.beam.insert(rows_.score(query, one.row), one.row);
    }
    scratch.waiting.clear();
    if (const GraphBeam::Entry* next = scratch.beam.next()) {
      const std::uint32_t* links = links_of(next->row);
      prefetch_bytes(links, links_ * sizeof *links);
    }
    weigh(query, count, scratch);
  }
}

// Starts at the hubs whose fronts score best.
void Graph::enter(const GraphQuery& query, GraphScratch& scratch) const {
  std::vector<float>& scores = scratch.scores;
  scores.resize(std::max(hubs_.size(), links_));
  scratch.rows.resize(links_);
  rows_.front_scores(query, hubs_.data(), hubs_.size(), scores.data());
  GraphResult best[kEntries];
  std::size_t count = 0;
  for (std::size_t i = 0; i < hubs_.size(); ++i) {
    if (count == kEntries && scores[i] <= best[count - 1].score) continue;
    std::size_t place = count < kEntries ? count++ : count - 1;
    for (; place > 0 && best[place - 1].score < scores[i]; --place) best[place] = best[place - 1];
    best[place] = {scores[i], hubs_[i]};
  }
  for (std::size_t i = 0; i < count; ++i) {
    scratch.seen.add(best[i].row);
    scratch.beam.insert(rows_.score(query, best[i].row), best[i].row);
  }
}

// Collects the rows that a row links to and that are new, and fetches their fronts.
std::size_t Graph::gather(std::uint32_t row, GraphScratch& scratch) const {
  std::uint32_t* rows = scratch.rows.data();
  std::size_t count = 0;
  const std::uint32_t* links = links_of(row);
  for (std::size_t i = 0; i < links_ && links[i] != kNoLink; ++i) {
    if (!scratch.seen.add(links[i])) continue;
    rows_.prefetch_front(links[i]);
    rows[count++] = links[i];
  }
  return count;
}

// Of the rows that were collected, those whose front says that they may enter the beam wait for
// their rest.
void Graph::weigh(const GraphQuery& query, std::size_t count, GraphScratch& scratch) const {
  const std::uint32_t* rows = scratch.rows.data();
  float* scores = scratch.scores.data();
  rows_.front_scores(query, rows, count, scores);
  for (std::size_t i = 0; i < count; ++i) {
    const float most = scores[i] + kSpread * rows_.spread(query, rows[i]);
    if (!(most > scratch.beam.threshold())) continue;
    rows_.prefetch_rest(rows[i]);
    scratch.waiting.push_back({most, rows[i]});
  }
}

}  // namespace waterfill
