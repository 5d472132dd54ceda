// Bindings of the index: its searches, whole and in shares.
#include <pybind11/stl.h>

#include <algorithm>

#include "arrays.hpp"
#include "contents.hpp"
#include "search_arguments.hpp"
#include "waterfill/index/index.hpp"

namespace waterfill {
namespace {

py::tuple search(const Index& index, const py::object& x, std::size_t k, std::size_t candidates,
                 std::size_t coarse_groups, float prune_sigma, const py::object& probes,
                 const py::object& selector, std::size_t refine_candidates,
                 const std::string& kind) {
  const RowsArgument argument(x, "x");
  const Rows queries = argument.rows();
  const SearchArguments arguments(queries, k, candidates, coarse_groups, prune_sigma, probes,
                                  selector, refine_candidates);
  auto distances = new_matrix<float>(queries.n, k);
  auto ids = new_matrix<std::int64_t>(queries.n, k);
  float* d = distances.mutable_data();
  std::int64_t* i = ids.mutable_data();
  const Contents contents(index, kind, queries.n * k);
  unlocked([&] { index.search(queries, arguments.params(), d, i, contents.arrays()); });
  return py::make_tuple(distances, ids, contents.result());
}

// The candidates of a share: limits, coarse scores, slots, labels, full scores and exact scores.
py::tuple search_share(const Index& index, const py::object& x, std::size_t k,
                       std::size_t candidates, std::size_t coarse_groups, float prune_sigma,
                       const py::object& probes, const py::object& selector,
                       std::size_t refine_candidates, std::pair<std::size_t, std::size_t> parts,
                       const py::object& thresholds) {
  const RowsArgument argument(x, "x");
  const Rows queries = argument.rows();
  const SearchArguments arguments(queries, k, candidates, coarse_groups, prune_sigma, probes,
                                  selector, refine_candidates);
  Array<float> known;
  if (!thresholds.is_none()) {
    known = checked<float>(thresholds, "thresholds", 1, "float32 (n,)");
    require(static_cast<std::size_t>(known.size()) == queries.n,
            "thresholds must have one value per query");
  }
  const float* given = thresholds.is_none() ? nullptr : known.data();
  const ShareCandidates found = unlocked([&] {
    return index.search_share(queries, arguments.params(), {parts.first, parts.second}, given);
  });
  return py::make_tuple(to_array(found.limits), to_array(found.coarse), to_array(found.slots),
                        to_array(found.labels), to_array(found.full), to_array(found.exact));
}

template <class T>
std::vector<T> to_vector(const py::object& x, std::size_t size, const char* type) {
  const auto array = checked<T>(x, "found", 1, type);
  require(static_cast<std::size_t>(array.size()) == size, "found: arrays of different sizes");
  return {array.data(), array.data() + size};
}

py::tuple merge_shares(const Index& index, const py::object& x, std::size_t k,
                       std::size_t candidates, std::size_t coarse_groups, const py::object& probes,
                       std::size_t refine_candidates, const py::tuple& found) {
  const RowsArgument argument(x, "x");
  const Rows queries = argument.rows();
  const SearchArguments arguments(queries, k, candidates, coarse_groups, 0, probes, py::none(),
                                  refine_candidates);
  require(found.size() == 6, "found must have six arrays");
  ShareCandidates all;
  const std::vector<std::uint64_t> limits =
      to_vector<std::uint64_t>(found[0], queries.n + 1, "uint64 (n + 1,)");
  all.limits.assign(limits.begin(), limits.end());
  const std::size_t size = all.limits.back();
  require(all.limits.front() == 0 && std::is_sorted(all.limits.begin(), all.limits.end()),
          "found: limits must ascend from 0");
  all.coarse = to_vector<float>(found[1], size, "float32 (m,)");
  all.slots = to_vector<std::uint32_t>(found[2], size, "uint32 (m,)");
  if (py::len(found[3]) > 0) all.labels = to_vector<std::uint32_t>(found[3], size, "uint32 (m,)");
  const auto scores = [&](const py::object& x) {
    return py::len(x) == 0 ? std::vector<float>(size) : to_vector<float>(x, size, "float32 (m,)");
  };
  all.full = scores(found[4]);
  all.exact = scores(found[5]);
  auto distances = new_matrix<float>(queries.n, k);
  auto ids = new_matrix<std::int64_t>(queries.n, k);
  float* d = distances.mutable_data();
  std::int64_t* i = ids.mutable_data();
  unlocked([&] { index.merge_shares(queries, arguments.params(), all, d, i); });
  return py::make_tuple(distances, ids);
}

py::tuple range_search(const Index& index, const py::object& x, float radius,
                       const py::object& probes, const py::object& selector) {
  const RowsArgument argument(x, "x");
  const Rows queries = argument.rows();
  const SearchArguments arguments(queries, 1, 1, 0, 0, probes, selector, 0);
  const RangeResult found =
      unlocked([&] { return index.range_search(queries, radius, arguments.params()); });
  return py::make_tuple(to_array(found.limits), to_array(found.distances), to_array(found.ids));
}

}  // namespace

void bind_search(py::class_<Index>& index) {
  index.attr("MANY_ROWS") = kManyRows;
  index
      .def("search", &search, py::arg("x"), py::arg("k"), py::arg("candidates"),
           py::arg("coarse_groups"), py::arg("prune_sigma"), py::arg("probes") = py::none(),
           py::arg("selector") = py::none(), py::arg("refine_candidates") = 0,
           py::arg("contents") = "",
           "Return distances and ids of the k nearest vectors of each query, and their 'codes' or "
           "'rows', or None.")
      .def("search_share", &search_share, py::arg("x"), py::arg("k"), py::arg("candidates"),
           py::arg("coarse_groups"), py::arg("prune_sigma"), py::arg("probes"), py::arg("selector"),
           py::arg("refine_candidates"), py::arg("parts"), py::arg("thresholds"),
           "Return candidates in some parts for `merge_shares`: limits, coarse scores, slots, "
           "labels, full and exact scores. With several lists there are two rounds; the first has "
           "no thresholds.")
      .def("merge_shares", &merge_shares, py::arg("x"), py::arg("k"), py::arg("candidates"),
           py::arg("coarse_groups"), py::arg("probes"), py::arg("refine_candidates"),
           py::arg("found"),
           "Return what `search` does, from the candidates of all parts and rounds.")
      .def("range_search", &range_search, py::arg("x"), py::arg("radius"),
           py::arg("probes") = py::none(), py::arg("selector") = py::none(),
           "Return limits, distances and ids of all vectors within a radius.");
}

}  // namespace waterfill
