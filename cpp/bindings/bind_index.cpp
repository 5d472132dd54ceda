#include <pybind11/stl.h>

#include <optional>

#include "arrays.hpp"
#include "waterfill/file/serialize.hpp"
#include "waterfill/index/index.hpp"

namespace waterfill {
namespace {

// What a search is told, out of Python objects that it keeps alive.
class SearchArguments {
 public:
  // probes: int64 (n, nprobe), a number of lists, or None; program: see `selector`.
  SearchArguments(const Rows& queries, std::size_t k, std::size_t candidates,
                  std::size_t scan_groups, float reach, const py::object& probes,
                  const py::object& program, std::size_t exact) {
    params_.k = k;
    params_.candidates = candidates;
    params_.scan_groups = scan_groups;
    params_.reach = reach;
    params_.exact = exact;
    if (py::isinstance<py::int_>(probes)) {
      params_.nprobe = probes.cast<std::size_t>();
    } else if (!probes.is_none()) {
      const auto lists = checked<std::int64_t>(probes, "probes", 2, "int64 (n, nprobe)");
      require(static_cast<std::size_t>(lists.shape(0)) == queries.n && lists.shape(1) > 0,
              "probes must have a row for each query");
      params_.nprobe = static_cast<std::size_t>(lists.shape(1));
      params_.probes = lists.data();
      probes_ = lists;
    }
    if (program.is_none()) return;
    selector_ = selector(program);
    params_.selector = &*selector_;
  }
  SearchArguments(const SearchArguments&) = delete;
  SearchArguments& operator=(const SearchArguments&) = delete;

  const SearchParams& params() const { return params_; }

  // Steps in postfix order: ('range', first, end), ('set', int64), ('bitmap', uint8), ('all',),
  // ('not',), ('and',), ('or',), ('xor',).
  static Selector selector(const py::object& program) {
    Selector result;
    for (const py::handle item : program) {
      const auto step = py::cast<py::tuple>(item);
      const auto kind = step[0].cast<std::string>();
      if (kind == "range") {
        result.range(step[1].cast<std::int64_t>(), step[2].cast<std::int64_t>());
      } else if (kind == "set") {
        result.set(vector_argument<std::int64_t>(step[1], "sel"));
      } else if (kind == "bitmap") {
        result.bitmap(vector_argument<std::uint8_t>(step[1], "sel"));
      } else if (kind == "all") {
        result.everything();
      } else if (kind == "not") {
        result.negate();
      } else if (kind == "and") {
        result.both();
      } else if (kind == "or") {
        result.either();
      } else if (kind == "xor") {
        result.one_of_two();
      } else {
        throw InvalidArgument("sel: no such step: " + kind);
      }
    }
    result.check();
    return result;
  }

 private:
  SearchParams params_;
  py::object probes_;
  std::optional<Selector> selector_;
};

py::tuple search(const Index& index, const py::object& x, std::size_t k, std::size_t candidates,
                 std::size_t scan_groups, float reach, const py::object& probes,
                 const py::object& selector, std::size_t exact) {
  const RowsArgument argument(x, "x");
  const Rows queries = argument.rows();
  const SearchArguments arguments(queries, k, candidates, scan_groups, reach, probes, selector,
                                  exact);
  auto distances = new_matrix<float>(queries.n, k);
  auto ids = new_matrix<std::int64_t>(queries.n, k);
  float* d = distances.mutable_data();
  std::int64_t* i = ids.mutable_data();
  unlocked([&] { index.search(queries, arguments.params(), d, i); });
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

Array<std::uint8_t> codes(const Index& index, std::size_t first, std::size_t n) {
  const std::size_t size = index.size();
  require(first <= size && n <= size - first, "rows beyond the end of the index");
  auto result = new_matrix<std::uint8_t>(n, index.codec()->code_size());
  std::uint8_t* out = result.mutable_data();
  unlocked([&] { index.codes(first, n, out); });
  return result;
}

Array<float> exact(const Index& index, std::size_t first, std::size_t n) {
  auto result = new_matrix<float>(n, index.codec()->d());
  float* out = result.mutable_data();
  unlocked([&] { index.exact(first, n, out); });
  return result;
}

void append(Index& index, const py::object& codes_value, const py::object& ids_value) {
  const auto codes = codes_argument(codes_value, index.codec()->code_size());
  const auto n = static_cast<std::size_t>(codes.shape(0));
  std::vector<std::int64_t> ids;
  if (!ids_value.is_none()) {
    ids = vector_argument<std::int64_t>(ids_value, "ids");
    require(ids.size() == n,
            "ids: " + std::to_string(ids.size()) + " for " + std::to_string(n) + " vectors");
  }
  const std::uint8_t* in = codes.data();
  unlocked([&] { index.append(in, n, ids_value.is_none() ? nullptr : ids.data()); });
}

RowKind row_kind(const py::array& array) {
  if (array.dtype().is(py::dtype::of<float>())) return RowKind::float32;
  if (array.dtype().kind() == 'f' && array.dtype().itemsize() == 2) return RowKind::float16;
  throw py::type_error("refine must be float32 or float16, got " + describe(array));
}

// Rows of an array of the caller's, which must outlive the index.
void borrow_exact(Index& index, const py::array& array) {
  require(array.ndim() == 2 && array.strides(1) == array.itemsize(),
          "refine must be rows of values side by side, got " + describe(array));
  const BorrowedRows rows{array.data(), static_cast<std::size_t>(array.shape(0)), array.strides(0)};
  index.keep_exact(
      ExactRows::borrow(row_kind(array), static_cast<std::size_t>(array.shape(1)), rows));
}

py::tuple settings_of(StoredIndex stored) {
  const IndexSettings& settings = stored.settings;
  return py::make_tuple(std::move(stored.index), settings.inverted, settings.nprobe,
                        settings.k_factor, py::bytes(settings.quantizer));
}

}  // namespace

void bind_index(py::module_& m) {
  py::enum_<Metric>(m, "Metric")
      .value("inner_product", Metric::inner_product)
      .value("l2", Metric::l2)
      .value("cosine", Metric::cosine);
  py::enum_<RowKind>(m, "RowKind")
      .value("float32", RowKind::float32)
      .value("float16", RowKind::float16)
      .value("int8", RowKind::int8);

  py::class_<Index>(m, "Index")
      .def(py::init([](const std::shared_ptr<Codec>& codec, Metric metric) {
             return std::make_unique<Index>(codec, metric);
           }),
           py::arg("codec"), py::arg("metric"))
      .def_property_readonly("size", &Index::size)
      .def_property_readonly("version", &Index::version)
      .def_property_readonly("metric", &Index::metric)
      .def_property_readonly("alpha", [](const Index& self) { return self.alpha().quarters; })
      .def_property_readonly("keeps_extra", &Index::keeps_extra)
      .def_property_readonly("nbytes", &Index::bytes)
      .def_property_readonly("has_ids", &Index::has_ids)
      .def_property_readonly("exact_kind", &Index::exact_kind)
      .def_property_readonly("list_sizes", &Index::list_sizes)
      .def_property_readonly(
          "codec", [](const Index& self) { return std::const_pointer_cast<Codec>(self.codec()); })
      .def("append", &append, py::arg("codes"), py::arg("ids") = py::none())
      .def("codes", &codes, py::arg("first"), py::arg("n"))
      .def("ids",
           [](const Index& self, std::size_t first, std::size_t n) {
             Array<std::int64_t> ids(static_cast<py::ssize_t>(n));
             self.ids(first, n, ids.mutable_data());
             return ids;
           })
      .def("find",
           [](const Index& self, const py::object& value) {
             const auto ids = vector_argument<std::int64_t>(value, "ids");
             std::vector<std::int64_t> labels(ids.size());
             unlocked([&] { self.find(ids.data(), ids.size(), labels.data()); });
             return to_array(labels);
           })
      .def("keep_ids", &Index::keep_ids)
      .def("keep_exact",
           [](Index& self, RowKind kind) { self.keep_exact(ExactRows(kind, self.codec()->d())); })
      .def("borrow_exact", &borrow_exact)
      .def("append_exact",
           [](Index& self, const py::object& x, std::uint64_t first_row) {
             const RowsArgument argument(x, "x");
             const Rows rows = argument.rows();
             unlocked([&] { self.append_exact(rows, first_row); });
           })
      .def("drop_exact", &Index::drop_exact)
      .def("exact", &exact, py::arg("first"), py::arg("n"))
      .def("merge", [](Index& self, Index& other,
                       std::int64_t shift) { unlocked([&] { self.merge(other, shift); }); })
      .def("remove",
           [](Index& self, const py::object& program) {
             const Selector selector = SearchArguments::selector(program);
             return unlocked([&] { return self.remove(selector); });
           })
      .def("reset", [](Index& self) { unlocked([&] { self.reset(); }); })
      .def("search", &search, py::arg("x"), py::arg("k"), py::arg("candidates"),
           py::arg("scan_groups"), py::arg("reach"), py::arg("probes") = py::none(),
           py::arg("selector") = py::none(), py::arg("exact") = 0)
      .def("range_search", &range_search, py::arg("x"), py::arg("radius"),
           py::arg("probes") = py::none(), py::arg("selector") = py::none())
      .def(
          "write",
          [](const Index& self, const std::string& path, bool inverted, std::uint32_t nprobe,
             float k_factor, const std::string& quantizer) {
            unlocked([&] { write_index(self, {inverted, nprobe, k_factor, quantizer}, path); });
          },
          py::arg("path"), py::arg("inverted"), py::arg("nprobe"), py::arg("k_factor"),
          py::arg("quantizer"))
      .def(
          "to_bytes",
          [](const Index& self, bool inverted, std::uint32_t nprobe, float k_factor,
             const std::string& quantizer) {
            return py::bytes(unlocked(
                [&] { return index_to_bytes(self, {inverted, nprobe, k_factor, quantizer}); }));
          },
          py::arg("inverted"), py::arg("nprobe"), py::arg("k_factor"), py::arg("quantizer"));

  m.def("read_index", [](const std::string& path) {
    return settings_of(unlocked([&] { return read_index(path); }));
  });
  m.def("index_from_bytes", [](const py::bytes& data) {
    const std::string_view view = data;
    return settings_of(unlocked([&] { return index_from_bytes(view.data(), view.size()); }));
  });
}

}  // namespace waterfill
