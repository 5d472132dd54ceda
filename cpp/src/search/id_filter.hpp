// The vectors that a search may return, as bit masks per list: those that a selector selects and
// that are not removed.
//
// The masks of a list are computed on first use, so a search of few lists does not pay for the
// others.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "kernels.hpp"
#include "waterfill/index/code_store.hpp"
#include "waterfill/index/ids.hpp"
#include "waterfill/index/selector.hpp"

namespace waterfill {

class IdFilter {
 public:
  // selector: null for all ids. Valid until the store or the ids change.
  IdFilter(const CodeStore& store, const Ids& ids, const Selector* selector);

  bool everything() const { return !selector_.has_value(); }
  bool is_for(const Selector& selector) const { return selector_ == selector; }
  // One mask per block of a list, bit v for vector v; null for all vectors. The blocks of a segment
  // start at its `first_block`.
  const std::uint32_t* blocks(std::size_t list) const;
  // The number of vectors of a list that the masks select.
  std::size_t count(std::size_t list) const;

 private:
  struct ListState {
    std::once_flag computed;
    std::uint32_t count = 0;
  };
  void compute(std::size_t list) const;
  Bits selected(const Selector& selector, std::size_t list) const;

  const CodeStore& store_;
  const Ids& ids_;
  std::optional<Selector> selector_;
  Bits labels_;                      // if ids equal labels
  std::vector<std::size_t> starts_;  // first block of each list
  std::unique_ptr<ListState[]> list_states_;
  std::unique_ptr<std::uint32_t[]> masks_;
};

// Calls visit(std::uint32_t slot) for the vectors of a list that a filter lets pass, of some parts.
template <class Visit>
void each_selected(const CodeStore& store, const IdFilter& filter, std::size_t list,
                   const PartRange& share, Visit visit) {
  const std::uint32_t* masks = filter.blocks(list);
  const std::vector<Segment>& segments = store.lists()[list].segments;
  for (std::size_t s = 0; s < segments.size(); ++s) {
    if (!store.lies_in(share, list, s)) continue;
    const Segment& segment = segments[s];
    const std::size_t start = store.start(list) + segment.first;
    for (std::size_t i = 0; i < segment.size; ++i) {
      const bool passes =
          masks == nullptr || (masks[segment.first_block + i / kBlock] >> i % kBlock & 1) != 0;
      if (passes) visit(static_cast<std::uint32_t>(start + i));
    }
  }
}

// The masks of all blocks, for a device; empty if everything passes. Lists that are not `scanned`
// count as selected.
std::vector<std::uint32_t> masks_of(const CodeStore& store, const IdFilter& filter,
                                    const std::vector<bool>& scanned);

}  // namespace waterfill
