#include <pybind11/stl.h>

#include "arrays.hpp"
#include "waterfill/analysis/sample_statistics.hpp"

namespace waterfill {

void bind_analysis(py::module_& m) {
  py::class_<Moments>(m, "Moments")
      .def(py::init([](const py::object& centre, double floor) {
             return Moments(vector_argument<double>(centre, "centre"), floor);
           }),
           py::arg("centre"), py::arg("floor"))
      .def("update",
           [](Moments& self, const py::object& x) {
             const RowsArgument rows(x, "x");
             unlocked([&] { self.update(rows.rows()); });
           })
      .def("merge", &Moments::merge)
      .def_property_readonly("dim", &Moments::dim)
      .def_property_readonly("rows_seen", &Moments::rows_seen)
      .def_property_readonly("count", &Moments::count)
      .def_property_readonly("zero_rows", &Moments::zero_rows)
      .def_property_readonly("nonfinite_rows", &Moments::nonfinite_rows)
      .def_property_readonly("first_nonfinite", &Moments::first_nonfinite)
      .def_property_readonly("duplicates",
                             [](const Moments& self) { return self.duplicates().duplicates(); })
      .def_property_readonly("duplicates_exact",
                             [](const Moments& self) { return self.duplicates().exact(); })
      .def_property_readonly("minima", [](const Moments& self) { return to_array(self.minima()); })
      .def_property_readonly("maxima", [](const Moments& self) { return to_array(self.maxima()); })
      .def_property_readonly("norms",
                             [](const Moments& self) {
                               const Moments::Norms& norms = self.norms();
                               return py::make_tuple(norms.min, norms.max, norms.sum,
                                                     norms.squares);
                             })
      .def_property_readonly("mean", [](const Moments& self) { return to_array(self.mean()); })
      .def_property_readonly("variance", &Moments::variance)
      .def("direction_covariance", [](const Moments& self) {
        const std::vector<double> values = self.direction_covariance();
        auto result = new_matrix<double>(self.dim(), self.dim());
        std::copy(values.begin(), values.end(), result.mutable_data());
        return result;
      });
}

}  // namespace waterfill
