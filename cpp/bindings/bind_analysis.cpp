// Bindings of the statistics of a sample.
#include <pybind11/stl.h>

#include "arrays.hpp"
#include "waterfill/analysis/sample_statistics.hpp"

namespace waterfill {

void bind_analysis(py::module_& m) {
  py::class_<Moments>(m, "Moments", "Statistics of a sample, accumulated in one pass.")
      .def(
          py::init([](const py::object& center, double floor) {
            return Moments(vector_argument<double>(center, "center"), floor);
          }),
          py::arg("center"), py::arg("floor"),
          "Start with a point near the data and the smallest squared distance from it that counts.")
      .def(
          "update",
          [](Moments& self, const py::object& x) {
            const RowsArgument rows(x, "x");
            unlocked([&] { self.update(rows.rows()); });
          },
          py::arg("x"), "Add rows; those that are not finite are only counted.")
      .def("merge", &Moments::merge, py::arg("other"), "Add the statistics of another pass.")
      .def(py::pickle([](const Moments& self) { return to_array(self.to_bytes()); },
                      [](const py::buffer& state) {
                        const BytesArgument bytes(state);
                        return Moments::restored(static_cast<const std::uint8_t*>(bytes.data()),
                                                 bytes.size());
                      }))
      .def_property_readonly("dim", &Moments::dim, "Number of dimensions.")
      .def_property_readonly("rows_seen", &Moments::rows_seen, "Number of rows passed.")
      .def_property_readonly("count", &Moments::count, "Number of finite rows.")
      .def_property_readonly("zero_rows", &Moments::zero_rows, "Number of zero rows.")
      .def_property_readonly("nonfinite_rows", &Moments::nonfinite_rows,
                             "Number of rows with a NaN or an infinity.")
      .def_property_readonly("first_nonfinite", &Moments::first_nonfinite,
                             "Numbers of the first rows that are not finite.")
      .def_property_readonly(
          "duplicates", [](const Moments& self) { return self.duplicates().duplicates(); },
          "Number of rows that are copies of an earlier one.")
      .def_property_readonly(
          "duplicates_exact", [](const Moments& self) { return self.duplicates().exact(); },
          "Whether `duplicates` is exact rather than an estimate.")
      .def_property_readonly(
          "minima", [](const Moments& self) { return to_array(self.minima()); },
          "Minimum of each dimension.")
      .def_property_readonly(
          "maxima", [](const Moments& self) { return to_array(self.maxima()); },
          "Maximum of each dimension.")
      .def_property_readonly(
          "norms",
          [](const Moments& self) {
            const Moments::Norms& norms = self.norms();
            return py::make_tuple(norms.min, norms.max, norms.sum, norms.squares);
          },
          "Minimum, maximum, sum and sum of squares of the norms.")
      .def_property_readonly(
          "mean", [](const Moments& self) { return to_array(self.mean()); }, "The mean.")
      .def_property_readonly("variance", &Moments::variance, "Mean squared distance from the mean.")
      .def(
          "direction_covariance",
          [](const Moments& self) {
            const std::vector<double> values = self.direction_covariance();
            auto result = new_matrix<double>(self.dim(), self.dim());
            std::copy(values.begin(), values.end(), result.mutable_data());
            return result;
          },
          "Return the second moments of directions from the mean, with trace 1.");
}

}  // namespace waterfill
