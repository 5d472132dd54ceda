#include "arrays.hpp"
#include "waterfill/index.hpp"
#include "waterfill/serialize.hpp"

namespace waterfill {
namespace {

py::tuple search(const IndexFlat& index, const py::object& x, std::size_t k, std::size_t candidates,
                 std::size_t scan_groups, float reach) {
  const RowsArgument argument(x, "x");
  const Rows queries = argument.rows();
  auto distances = new_matrix<float>(queries.n, k);
  auto labels = new_matrix<std::int64_t>(queries.n, k);
  float* d = distances.mutable_data();
  std::int64_t* l = labels.mutable_data();
  unlocked([&] { index.search(queries, {k, candidates, scan_groups, reach}, d, l); });
  return py::make_tuple(distances, labels);
}

Array<std::uint8_t> codes(const IndexFlat& index, std::size_t first, std::size_t n) {
  const std::size_t size = index.size();
  require(first <= size && n <= size - first, "rows beyond the end of the index");
  auto result = new_matrix<std::uint8_t>(n, index.codec()->code_size());
  std::uint8_t* out = result.mutable_data();
  unlocked([&] { index.codes(first, n, out); });
  return result;
}

}  // namespace

void bind_index(py::module_& m) {
  py::enum_<Metric>(m, "Metric")
      .value("inner_product", Metric::inner_product)
      .value("l2", Metric::l2)
      .value("cosine", Metric::cosine);

  py::class_<IndexFlat>(m, "IndexFlat")
      .def(py::init([](const std::shared_ptr<Codec>& codec, Metric metric) {
             return std::make_unique<IndexFlat>(codec, metric);
           }),
           py::arg("codec"), py::arg("metric"))
      .def_property_readonly("size", &IndexFlat::size)
      .def_property_readonly("metric", &IndexFlat::metric)
      .def_property_readonly("alpha", [](const IndexFlat& self) { return self.alpha().quarters; })
      .def_property_readonly("keeps_extra", &IndexFlat::keeps_extra)
      .def_property_readonly("nbytes", &IndexFlat::bytes)
      .def_property_readonly(
          "codec",
          [](const IndexFlat& self) { return std::const_pointer_cast<Codec>(self.codec()); })
      .def(
          "append",
          [](IndexFlat& self, const py::object& value) {
            const auto codes = codes_argument(value, self.codec()->code_size());
            const auto n = static_cast<std::size_t>(codes.shape(0));
            const std::uint8_t* in = codes.data();
            unlocked([&] { self.append(in, n); });
          },
          py::arg("codes"))
      .def("codes", &codes, py::arg("first"), py::arg("n"))
      .def("remove",
           [](IndexFlat& self, const py::object& value) {
             const auto ids = vector_argument<std::int64_t>(value, "ids");
             return unlocked([&] { return self.remove(ids.data(), ids.size()); });
           })
      .def("reset", [](IndexFlat& self) { unlocked([&] { self.reset(); }); })
      .def("search", &search, py::arg("x"), py::arg("k"), py::arg("candidates"),
           py::arg("scan_groups"), py::arg("reach"))
      .def("write", [](const IndexFlat& self, const std::string& path) {
        unlocked([&] { write_index(self, path); });
      });

  m.def("read_index",
        [](const std::string& path) { return unlocked([&] { return read_index(path); }); });
}

}  // namespace waterfill
