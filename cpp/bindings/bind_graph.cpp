// Bindings of the graph index: search, changes, and files.
#include <pybind11/stl.h>

#include <optional>

#include "arrays.hpp"
#include "file_handle.hpp"
#include "selector_argument.hpp"
#include "waterfill/file/graph_file.hpp"
#include "waterfill/graph/graph_index.hpp"

namespace waterfill {
namespace {

std::optional<Selector> optional_selector(const py::object& program) {
  if (program.is_none()) return std::nullopt;
  return selector_argument(program);
}

const Selector* pointer(const std::optional<Selector>& selector) {
  return selector.has_value() ? &*selector : nullptr;
}

std::unique_ptr<GraphIndex> make(const py::object& mean, const py::object& basis,
                                 const py::object& steps, Metric metric, std::size_t links) {
  GraphSpace space(vector_argument<float>(mean, "mean"), vector_argument<float>(basis, "basis", 2),
                   vector_argument<float>(steps, "steps"));
  return std::make_unique<GraphIndex>(std::move(space), metric, links);
}

void append(GraphIndex& index, const py::object& x, const py::object& ids, std::size_t effort) {
  const RowsArgument argument(x, "x");
  const Rows rows = argument.rows();
  std::optional<std::vector<std::int64_t>> own;
  if (!ids.is_none()) {
    own = vector_argument<std::int64_t>(ids, "ids");
    require(own->size() == rows.n, "ids must have one id per vector");
  }
  unlocked([&] { index.append(rows, own ? own->data() : nullptr, effort); });
}

py::tuple search(const GraphIndex& index, const py::object& x, std::size_t k, std::size_t effort,
                 const py::object& program) {
  const RowsArgument argument(x, "x");
  const Rows queries = argument.rows();
  const std::optional<Selector> selector = optional_selector(program);
  auto distances = new_matrix<float>(queries.n, k);
  auto ids = new_matrix<std::int64_t>(queries.n, k);
  float* d = distances.mutable_data();
  std::int64_t* i = ids.mutable_data();
  unlocked([&] { index.search(queries, k, effort, pointer(selector), d, i); });
  return py::make_tuple(distances, ids);
}

py::tuple range_search(const GraphIndex& index, const py::object& x, float radius,
                       const py::object& program) {
  const RowsArgument argument(x, "x");
  const Rows queries = argument.rows();
  const std::optional<Selector> selector = optional_selector(program);
  const RangeResult found =
      unlocked([&] { return index.range_search(queries, radius, pointer(selector)); });
  return py::make_tuple(to_array(found.limits), to_array(found.distances), to_array(found.ids));
}

py::tuple find(const GraphIndex& index, const py::object& ids) {
  const auto keys = vector_argument<std::int64_t>(ids, "ids");
  std::vector<std::int64_t> labels(keys.size());
  auto vectors = new_matrix<float>(keys.size(), index.d());
  float* out = vectors.mutable_data();
  unlocked([&] { index.find(keys.data(), keys.size(), labels.data(), out); });
  return py::make_tuple(to_array(labels), vectors);
}

Array<float> vectors(const GraphIndex& index, std::size_t first, std::size_t n) {
  auto result = new_matrix<float>(n, index.d());
  float* out = result.mutable_data();
  unlocked([&] { index.vectors(first, n, out); });
  return result;
}

Array<std::int64_t> ids(const GraphIndex& index, std::size_t first, std::size_t n) {
  std::vector<std::int64_t> result(n);
  unlocked([&] { index.ids(first, n, result.data()); });
  return to_array(result);
}

py::tuple parts_of(StoredGraph&& stored) {
  return py::make_tuple(std::move(stored.index), stored.settings.search_effort,
                        stored.settings.construction_effort);
}

}  // namespace

void bind_graph(py::module_& m) {
  py::class_<GraphIndex>(m, "GraphIndex", "Rows, links and ids, with search.")
      .def(py::init(&make), py::arg("mean"), py::arg("basis"), py::arg("steps"), py::arg("metric"),
           py::arg("links"))
      .def_property_readonly("size", &GraphIndex::size, "Number of vectors.")
      .def_property_readonly("d", &GraphIndex::d, "Dimensions.")
      .def_property_readonly("links", &GraphIndex::links, "Links per vector, at most.")
      .def_property_readonly("version", &GraphIndex::version, "Increases with every change.")
      .def_property_readonly("metric", &GraphIndex::metric, "The metric.")
      .def_property_readonly("has_ids", &GraphIndex::has_ids, "Whether ids are explicit.")
      .def_property_readonly("bytes_per_vector", &GraphIndex::bytes_per_vector,
                             "Bytes of a row and its links.")
      .def_property_readonly(
          "nbytes", [](const GraphIndex& self) { return unlocked([&] { return self.bytes(); }); },
          "Memory of vectors, links and ids.")
      .def("append", &append, py::arg("x"), py::arg("ids"), py::arg("effort"),
           "Append vectors; on an exception nothing changes.")
      .def("search", &search, py::arg("x"), py::arg("k"), py::arg("effort"),
           py::arg("selector") = py::none(),
           "Return distances and ids of the k nearest vectors of each query.")
      .def("range_search", &range_search, py::arg("x"), py::arg("radius"),
           py::arg("selector") = py::none(),
           "Return limits, distances and ids of all vectors within a radius.")
      .def(
          "remove",
          [](GraphIndex& self, const py::object& program) {
            const Selector selector = selector_argument(program);
            return unlocked([&] { return self.remove(selector); });
          },
          py::arg("program"), "Remove the selected ids; return their number.")
      .def(
          "keep_ids", [](GraphIndex& self) { unlocked([&] { self.keep_ids(); }); },
          "Make ids explicit.")
      .def(
          "reset", [](GraphIndex& self) { unlocked([&] { self.reset(); }); }, "Remove all vectors.")
      .def("find", &find, py::arg("ids"),
           "Return the last label of each id, or -1, and the vectors.")
      .def("vectors", &vectors, py::arg("first"), py::arg("n"), "Return vectors by label.")
      .def("ids", &ids, py::arg("first"), py::arg("n"), "Return ids by label.")
      .def(
          "links_of",
          [](const GraphIndex& self, std::size_t label) { return to_array(self.links_of(label)); },
          py::arg("label"), "Return the labels that a vector links to.")
      .def(
          "write",
          [](const GraphIndex& self, int fd, const std::string& path, std::uint32_t search_effort,
             std::uint32_t construction_effort) {
            const FileHandle file = file_handle(fd);
            unlocked([&] { write_graph(self, {search_effort, construction_effort}, file, path); });
          },
          py::arg("fd"), py::arg("path"), py::arg("search_effort"), py::arg("construction_effort"),
          "Write the index to an open file; path is for messages.")
      .def(
          "to_bytes",
          [](const GraphIndex& self, std::uint32_t search_effort,
             std::uint32_t construction_effort) {
            return to_array(unlocked(
                [&] { return graph_to_bytes(self, {search_effort, construction_effort}); }));
          },
          py::arg("search_effort"), py::arg("construction_effort"),
          "Return the index in the file format, uint8 (n,).");

  m.def(
      "read_graph",
      [](const std::string& path) { return parts_of(unlocked([&] { return read_graph(path); })); },
      py::arg("path"), "Read a graph's file; return the index and the efforts.");
  m.def(
      "graph_from_bytes",
      [](const py::buffer& data) {
        const BytesArgument bytes(data);
        return parts_of(unlocked([&] { return graph_from_bytes(bytes.data(), bytes.size()); }));
      },
      py::arg("data"), "Read a graph from bytes, as `read_graph` does from a file.");
}

}  // namespace waterfill
