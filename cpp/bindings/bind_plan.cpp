// Bindings of bit allocation.
#include <pybind11/stl.h>

#include "arrays.hpp"
#include "waterfill/plan/bit_allocation.hpp"

namespace waterfill {
namespace {

using PyGroup = std::pair<std::string, std::vector<std::uint32_t>>;  // kind, dimensions

std::vector<PyGroup> to_python(const std::vector<Group>& groups) {
  std::vector<PyGroup> list;
  list.reserve(groups.size());
  for (const Group& group : groups) {
    list.emplace_back(group.kind == GroupKind::vector ? "vector" : "binary", group.dims);
  }
  return list;
}

std::vector<Group> from_python(const std::vector<PyGroup>& list) {
  std::vector<Group> groups;
  groups.reserve(list.size());
  for (const auto& [kind, dims] : list) {
    groups.push_back({dims, kind == "binary" ? GroupKind::binary : GroupKind::vector});
  }
  return groups;
}

Threshold threshold_argument(const std::string& by) {
  if (by == "eigenvalue") return Threshold::eigenvalue;
  if (by == "variance") return Threshold::variance;
  require(by == "dimensions", "by='" + by + "' must be 'eigenvalue', 'variance' or 'dimensions'");
  return Threshold::dimensions;
}

}  // namespace

void bind_plan(py::module_& m) {
  m.def(
      "shrink",
      [](const py::object& eigenvalues, std::uint64_t rows) {
        return to_array(shrink(vector_argument<double>(eigenvalues, "eigenvalues"), rows));
      },
      py::arg("eigenvalues"), py::arg("rows"), "Return eigenvalues shrunk towards their mean.");
  m.def(
      "reverse_waterfill",
      [](const py::object& variances, double bits) {
        return to_array(reverse_waterfill(vector_argument<double>(variances, "variances"), bits));
      },
      py::arg("variances"), py::arg("bits"), "Return the bits of each dimension.");
  m.def(
      "waterfill_groups",
      [](const py::object& rates, std::size_t code_bytes) {
        return to_python(waterfill_groups(vector_argument<double>(rates, "rates"), code_bytes));
      },
      py::arg("rates"), py::arg("code_bytes"), "Return the groups as (kind, dimensions).");
  m.def(
      "classic_groups",
      [](const py::object& eigenvalues, double variance, double th_high, double th_mid,
         const std::string& by) {
        return to_python(
            classic_groups(classic_classes(vector_argument<double>(eigenvalues, "eigenvalues"),
                                           variance, th_high, th_mid, threshold_argument(by))));
      },
      py::arg("eigenvalues"), py::arg("variance"), py::arg("th_high"), py::arg("th_mid"),
      py::arg("by"), "Return the groups of the classic plan as (kind, dimensions).");
  m.def(
      "predict_distortion",
      [](const py::object& variances, const py::object& weights,
         const std::vector<PyGroup>& groups) {
        const Distortion d =
            predict_distortion(vector_argument<double>(variances, "variances"),
                               vector_argument<double>(weights, "weights"), from_python(groups));
        return py::make_tuple(d.expected, d.bound);
      },
      py::arg("variances"), py::arg("weights"), py::arg("groups"),
      "Return the expected distortion and Shannon's bound.");
}

}  // namespace waterfill
