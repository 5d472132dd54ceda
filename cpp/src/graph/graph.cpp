#include "waterfill/graph/graph.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "graph/graph_scratch.hpp"
#include "waterfill/core/interruption.hpp"
#include "waterfill/core/thread_pool.hpp"

namespace waterfill {
namespace {

// Rows of a batch find their links in the graph of before, all at once: at most this share of it.
constexpr std::size_t kBatchShare = 32, kMostBatch = 4096;
constexpr std::size_t kTask = 16;  // rows per task of a thread
constexpr std::size_t kFewestHubs = 16;

template <class Work>
void for_rows(std::size_t n, Work work) {
  parallel_for((n + kTask - 1) / kTask, [&](std::size_t task) {
    throw_if_interrupted();
    const std::size_t end = std::min(n, (task + 1) * kTask);
    for (std::size_t i = task * kTask; i < end; ++i) work(i);
  });
}

// Whether a row with a link makes one to another row needless: that one is nearer to it than to the
// row whose links are chosen. Distances: of both from that row, and of the two from each other. A
// copy of the row is as near to everything as the row, and makes links to other copies needless
// only.
bool covers(float linked, float apart, float other) {
  return apart < other || (apart == other && linked == other);
}

}  // namespace

Graph::Graph(GraphSpace space, Metric metric, std::size_t links)
    : rows_(std::move(space), metric), links_(links) {
  require(links >= 2 && links <= kMostLinks,
          "M must be 2 to " + std::to_string(kMostLinks) + ", got " + std::to_string(links));
}

std::size_t Graph::bytes() const {
  return rows_.bytes() + (edges_.capacity() + hubs_.capacity()) * sizeof(std::uint32_t);
}

std::size_t Graph::count_links(std::size_t row) const {
  const std::uint32_t* links = links_of(row);
  return static_cast<std::size_t>(std::find(links, links + links_, kNoLink) - links);
}

// Half the squared distance from a row, or minus the product with it and a constant; bias: of the
// row that the query is.
float Graph::distance(const GraphQuery& query, float bias, std::uint32_t row) const {
  const float near = rows_.score(query, row) + bias;
  return rows_.metric() == Metric::l2 ? std::max(-near, 0.0f) : -near;
}

void Graph::choose_hubs() {
  const auto root = static_cast<std::size_t>(std::sqrt(static_cast<double>(size())));
  const std::size_t count = std::min(size(), kFewestHubs + root);
  hubs_.resize(count);
  for (std::size_t i = 0; i < count; ++i) {
    hubs_[i] = static_cast<std::uint32_t>(i * size() / count);
  }
}

void Graph::append(const Rows& x) {
  std::vector<float> y(x.n * x.d);
  for_rows(x.n,
           [&](std::size_t i) { rows_.space().rotate({x.row(i), 1, x.d}, y.data() + i * x.d); });
  rows_.append(y.data(), x.n);
  edges_.resize(size() * links_, kNoLink);
}

void Graph::add(const Rows& x, std::size_t effort) {
  const std::size_t before = size(), n = x.n;
  try {
    const std::size_t total = before + n;
    if (total * links_ > edges_.capacity()) {
      edges_.reserve(std::max(total, before + before / 2) * links_);
    }
    rows_.reserve(total);
    hubs_.reserve(kFewestHubs + static_cast<std::size_t>(std::sqrt(static_cast<double>(total))));
    for (std::size_t done = 0; done < n;) {
      const std::size_t first = size();
      const std::size_t batch =
          std::min({n - done, kMostBatch, std::max<std::size_t>(first / kBatchShare, 1)});
      append({x.row(done), batch, x.d});
      if (first > 0) {
        for_rows(batch, [&](std::size_t i) { link_new(first + i, effort); });
        link_back(first, first + batch);
      }
      choose_hubs();
      done += batch;
    }
  } catch (...) {
    // Without the new rows, the links of others still lead to rows that exist.
    rows_.truncate(before);
    edges_.resize(before * links_);
    for (std::size_t row = 0; row < before; ++row) {
      std::uint32_t* links = edges_.data() + row * links_;
      std::uint32_t* end = std::remove_if(links, links + links_, [&](std::uint32_t link) {
        return link != kNoLink && link >= before;
      });
      std::fill(end, links + links_, kNoLink);
    }
    choose_hubs();
    throw;
  }
}

// Gives a row of a batch its links, to rows of before.
void Graph::link_new(std::size_t row, std::size_t effort) {
  GraphScratch& scratch = GraphScratch::own();
  rows_.prepare_row(row, scratch.query);
  visit(scratch.query, effort, scratch);
  const float bias = rows_.bias(row);
  std::vector<Near> near;
  for (const GraphBeam::Entry& entry : scratch.beam.entries()) {
    near.push_back({-(entry.score + bias), entry.row});
  }
  const std::vector<std::uint32_t> chosen = select(std::move(near));
  std::copy(chosen.begin(), chosen.end(),
            edges_.begin() + static_cast<std::ptrdiff_t>(row * links_));
}

// The nearest rows of which none is nearer to another one that is chosen.
std::vector<std::uint32_t> Graph::select(std::vector<Near> near) const {
  std::sort(near.begin(), near.end());
  static thread_local GraphQuery query;
  std::vector<std::uint32_t> chosen;
  while (!near.empty() && chosen.size() < links_) {
    const std::uint32_t row = near.front().row;
    const float chosen_distance = near.front().distance;
    chosen.push_back(row);
    if (chosen.size() == links_) break;
    rows_.prepare_row(row, query);
    const float bias = rows_.bias(row);
    near.erase(std::remove_if(near.begin(), near.end(),
                              [&](const Near& other) {
                                return other.row == row ||
                                       covers(chosen_distance, distance(query, bias, other.row),
                                              other.distance);
                              }),
               near.end());
  }
  return chosen;
}

// Links to the rows [first, end) from those that they link to.
void Graph::link_back(std::size_t first, std::size_t end) {
  std::vector<std::pair<std::uint32_t, std::uint32_t>> pairs;  // the row that gets a link, and it
  for (std::size_t row = first; row < end; ++row) {
    for (std::size_t i = 0; i < count_links(row); ++i) {
      pairs.emplace_back(links_of(row)[i], static_cast<std::uint32_t>(row));
    }
  }
  std::sort(pairs.begin(), pairs.end());
  std::vector<std::size_t> starts;
  std::vector<std::uint32_t> sources(pairs.size());
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    if (i == 0 || pairs[i].first != pairs[i - 1].first) starts.push_back(i);
    sources[i] = pairs[i].second;
  }
  starts.push_back(pairs.size());
  for_rows(starts.size() - 1, [&](std::size_t i) {
    link_to(pairs[starts[i]].first, sources.data() + starts[i], starts[i + 1] - starts[i]);
  });
}

// Adds links of a row. If there are more than it may have, they are chosen anew.
void Graph::link_to(std::uint32_t row, const std::uint32_t* sources, std::size_t n) {
  std::uint32_t* links = edges_.data() + row * links_;
  const std::size_t count = count_links(row);
  if (count + n <= links_) {
    std::copy_n(sources, n, links + count);
    return;
  }
  static thread_local GraphQuery query;
  rows_.prepare_row(row, query);
  std::vector<Near> near;
  for (std::size_t i = 0; i < count + n; ++i) {
    const std::uint32_t other = i < count ? links[i] : sources[i - count];
    near.push_back({distance(query, rows_.bias(row), other), other});
  }
  const std::vector<std::uint32_t> chosen = select(std::move(near));
  std::fill(std::copy(chosen.begin(), chosen.end(), links), links + links_, kNoLink);
}

void Graph::remove(const Bits& drop) {
  Aligned<std::uint32_t> edges(edges_.size(), kNoLink);
  std::vector<std::uint32_t> numbers(size());
  std::uint32_t kept = 0;
  for (std::size_t row = 0; row < size(); ++row) {
    numbers[row] = test_bit(drop, row) ? kNoLink : kept++;
  }
  for_rows(size(), [&](std::size_t row) {
    if (test_bit(drop, row)) return;
    const std::vector<std::uint32_t> links = repaired(row, drop);
    std::uint32_t* out = edges.data() + std::size_t{numbers[row]} * links_;
    for (std::size_t i = 0; i < links.size(); ++i) out[i] = numbers[links[i]];
  });
  edges.resize(std::size_t{kept} * links_);
  rows_.remove(drop);
  edges_ = std::move(edges);
  choose_hubs();  // there are not more than before
}

// The links of a row without those to removed rows, whose own links take their places.
std::vector<std::uint32_t> Graph::repaired(std::size_t row, const Bits& drop) const {
  const std::uint32_t* links = links_of(row);
  std::vector<std::uint32_t> kept;
  bool complete = true;
  for (std::size_t i = 0; i < count_links(row); ++i) {
    if (!test_bit(drop, links[i])) {
      kept.push_back(links[i]);
      continue;
    }
    complete = false;
    const std::uint32_t* further = links_of(links[i]);
    for (std::size_t j = 0; j < count_links(links[i]); ++j) {
      if (further[j] != row && !test_bit(drop, further[j])) kept.push_back(further[j]);
    }
  }
  if (complete) return kept;
  std::sort(kept.begin(), kept.end());
  kept.erase(std::unique(kept.begin(), kept.end()), kept.end());
  GraphQuery query;
  rows_.prepare_row(row, query);
  std::vector<Near> near;
  near.reserve(kept.size());
  for (const std::uint32_t other : kept) {
    near.push_back({distance(query, rows_.bias(row), other), other});
  }
  return select(std::move(near));
}

void Graph::clear() noexcept {
  rows_.truncate(0);
  edges_.clear();
  hubs_.clear();
}

void Graph::load(Aligned<std::uint32_t> edges) {
  require(edges.size() == size() * links_, "links must be a number per row and link");
  require(rows_.valid(), "the head of a row is not finite");
  for (std::size_t row = 0; row < size(); ++row) {
    bool ended = false;
    for (std::size_t i = 0; i < links_; ++i) {
      const std::uint32_t link = edges[row * links_ + i];
      require(link == kNoLink || (!ended && link < size() && link != row),
              "row " + std::to_string(row) + " has an invalid link");
      ended = link == kNoLink;
    }
  }
  edges_ = std::move(edges);
  choose_hubs();
}

}  // namespace waterfill
