// Which vectors a search may find, list by list. A list's bits are made when it is first looked at:
// a search that looks at few lists does not pay for the others.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "waterfill/index/code_store.hpp"
#include "waterfill/index/ids.hpp"
#include "waterfill/index/selector.hpp"

namespace waterfill {

class Filter {
 public:
  // selector: null for all vectors. Good for as long as the store and the ids do not change.
  Filter(const CodeStore& store, const Ids& ids, const Selector* selector);

  bool everything() const { return !selector_.has_value(); }
  // Whether it was made for this selector.
  bool is_for(const Selector& selector) const { return selector_ == selector; }
  // Bits of the vectors of each block of a list; null for all.
  const std::uint32_t* blocks(std::size_t list) const;
  // Vectors of a list that may be found.
  std::size_t count(std::size_t list) const;

 private:
  struct Own {
    std::once_flag made;
    std::uint32_t count = 0;
  };
  void make(std::size_t list) const;

  const CodeStore& store_;
  const Ids& ids_;
  std::optional<Selector> selector_;
  Bits labels_;                      // where ids are labels
  std::vector<std::size_t> starts_;  // of the lists' blocks
  std::unique_ptr<Own[]> own_;
  std::unique_ptr<std::uint32_t[]> masks_;
};

}  // namespace waterfill
