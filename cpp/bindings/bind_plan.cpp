#include <pybind11/stl.h>

#include "arrays.hpp"
#include "waterfill/plan/bit_allocation.hpp"

namespace waterfill {
namespace {

using PyGroup = std::pair<std::string, std::vector<std::uint32_t>>;  // kind, dimensions

std::vector<PyGroup> to_python(const std::vector<Group>& groups) {
  std::vector<PyGroup> list;
  for (const Group& group : groups) {
    list.emplace_back(group.kind == GroupKind::vector ? "vector" : "binary", group.dims);
  }
  return list;
}

std::vector<Group> from_python(const std::vector<PyGroup>& list) {
  std::vector<Group> groups;
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
  m.def("shrink", [](const py::object& eigenvalues, std::uint64_t rows) {
    return to_array(shrink(vector_argument<double>(eigenvalues, "eigenvalues"), rows));
  });
  m.def("reverse_waterfill", [](const py::object& variances, double bits) {
    return to_array(reverse_waterfill(vector_argument<double>(variances, "variances"), bits));
  });
  m.def("waterfill_groups", [](const py::object& rates, std::size_t code_bytes) {
    return to_python(waterfill_groups(vector_argument<double>(rates, "rates"), code_bytes));
  });
  m.def("classic_groups", [](const py::object& eigenvalues, double variance, double th_high,
                             double th_mid, const std::string& by) {
    return to_python(
        classic_groups(classic_classes(vector_argument<double>(eigenvalues, "eigenvalues"),
                                       variance, th_high, th_mid, threshold_argument(by))));
  });
  m.def("predict_distortion", [](const py::object& variances, const py::object& weights,
                                 const std::vector<PyGroup>& groups) {
    const Distortion d =
        predict_distortion(vector_argument<double>(variances, "variances"),
                           vector_argument<double>(weights, "weights"), from_python(groups));
    return py::make_tuple(d.expected, d.bound);
  });
}

}  // namespace waterfill
