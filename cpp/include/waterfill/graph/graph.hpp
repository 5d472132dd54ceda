// A graph over rows: each has links to some of its neighbours, and a search follows them from an
// entry towards the query (Malkov and Yashunin 2018; Subramanya et al. 2019).
//
// There is one layer. A search starts at the best of about sqrt(n) rows, the hubs, whose fronts are
// all scored. From a row it scores the fronts of all rows that are linked, and reads the rest of
// those that may enter the beam.
//
// Links go to the nearest rows that are not nearer to a row that has a link already. "Near" is half
// the squared distance, or minus the inner product: where norms vary, links by distance lead a
// search for the largest products astray.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "waterfill/graph/graph_rows.hpp"
#include "waterfill/index/ids.hpp"

namespace waterfill {

inline constexpr std::uint32_t kNoLink = std::numeric_limits<std::uint32_t>::max();
inline constexpr std::size_t kMostLinks = 256;
inline constexpr std::uint32_t kMostGraphRows = 0x7fffffff;  // numbers have 31 bits in a search

struct GraphResult {
  float score;
  std::uint32_t row;
};

// What a search works with; kept between searches.
struct GraphScratch;

class Graph {
 public:
  Graph(GraphSpace space, Metric metric, std::size_t links);

  const GraphRows& rows() const { return rows_; }
  std::size_t size() const { return rows_.size(); }
  std::size_t links() const { return links_; }
  std::size_t bytes() const;

  // The nearest rows, best first, ties by row. effort: results that the beam holds, at least k.
  // allowed: the rows that may be results; null: all.
  std::vector<GraphResult> search(const float* y, std::size_t k, std::size_t effort,
                                  const Bits* allowed = nullptr) const;
  // All rows with a score above the threshold, by row.
  std::vector<GraphResult> search_above(const float* y, float threshold,
                                        const Bits* allowed = nullptr) const;

  // Adds vectors and their links; effort: as of a search. On an exception the rows are those of
  // before. The links depend neither on threads nor on the instruction set.
  void add(const Rows& x, std::size_t effort);
  // Removes rows; rows that had links to them get links to what these were linked to. On an
  // exception nothing changes.
  void remove(const Bits& drop);
  void clear() noexcept;

  // For files: links() numbers per row, kNoLink behind the last. `load` throws InvalidArgument
  // unless rows and links are valid.
  const Aligned<std::uint32_t>& link_array() const { return edges_; }
  GraphRows& own_rows() { return rows_; }
  void load(Aligned<std::uint32_t> edges);

 private:
  // The distance of a row from another one, and the row.
  struct Near {
    float distance;
    std::uint32_t row;

    bool operator<(const Near& other) const {
      return distance != other.distance ? distance < other.distance : row < other.row;
    }
  };

  void visit(const GraphQuery& query, std::size_t effort, GraphScratch& scratch) const;
  void enter(const GraphQuery& query, GraphScratch& scratch) const;
  std::size_t gather(std::uint32_t row, GraphScratch& scratch) const;
  void weigh(const GraphQuery& query, std::size_t count, GraphScratch& scratch) const;
  std::vector<GraphResult> scan(const GraphQuery& query, std::size_t k, const Bits& allowed) const;

  const std::uint32_t* links_of(std::size_t row) const { return edges_.data() + row * links_; }
  std::size_t count_links(std::size_t row) const;
  float distance(const GraphQuery& query, float bias, std::uint32_t row) const;
  void append(const Rows& x);
  void link_new(std::size_t row, std::size_t effort);
  void link_back(std::size_t first, std::size_t end);
  void link_to(std::uint32_t row, const std::uint32_t* sources, std::size_t n);
  std::vector<std::uint32_t> select(std::vector<Near> near) const;
  std::vector<std::uint32_t> repaired(std::size_t row, const Bits& drop) const;
  void choose_hubs();

  GraphRows rows_;
  std::size_t links_;
  Aligned<std::uint32_t> edges_;
  std::vector<std::uint32_t> hubs_;
};

}  // namespace waterfill
