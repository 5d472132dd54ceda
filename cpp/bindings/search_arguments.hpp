// The arguments of a search.
#pragma once

#include <optional>

#include "arrays.hpp"
#include "selector_argument.hpp"
#include "waterfill/index/index.hpp"

namespace waterfill {

// The parameters of a search, with the Python objects that they refer to.
class SearchArguments {
 public:
  // probes: int64 (n, nprobe), a number of lists, or None. program: see `selector_argument`.
  SearchArguments(const Rows& queries, std::size_t k, std::size_t candidates,
                  std::size_t coarse_groups, float prune_sigma, const py::object& probes,
                  const py::object& program, std::size_t refine_candidates) {
    params_.k = k;
    params_.candidates = candidates;
    params_.coarse_groups = coarse_groups;
    params_.prune_sigma = prune_sigma;
    params_.refine_candidates = refine_candidates;
    if (py::isinstance<py::int_>(probes)) {
      params_.nprobe = probes.cast<std::size_t>();
    } else if (!probes.is_none()) {
      const auto lists = checked<std::int64_t>(probes, "probes", 2, "int64 (n, nprobe)");
      require(static_cast<std::size_t>(lists.shape(0)) == queries.n && lists.shape(1) > 0,
              "probes must have one row per query");
      params_.nprobe = static_cast<std::size_t>(lists.shape(1));
      params_.probes = lists.data();
      probes_ = lists;
    }
    if (program.is_none()) return;
    selector_ = selector_argument(program);
    params_.selector = &*selector_;
  }
  SearchArguments(const SearchArguments&) = delete;
  SearchArguments& operator=(const SearchArguments&) = delete;

  const SearchParams& params() const { return params_; }

 private:
  SearchParams params_;
  py::object probes_;
  std::optional<Selector> selector_;
};

}  // namespace waterfill
