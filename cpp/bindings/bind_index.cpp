// Bindings of the index: its contents, changes, and files.
#include <pybind11/stl.h>

#include <algorithm>
#include <optional>

#include "arrays.hpp"
#include "contents.hpp"
#include "file_handle.hpp"
#include "selector_argument.hpp"
#include "waterfill/file/index_file.hpp"
#include "waterfill/file/mapped_index.hpp"
#include "waterfill/index/index.hpp"

namespace waterfill {
namespace {

Array<std::uint8_t> codes(const Index& index, std::size_t first, std::size_t n) {
  auto result = new_matrix<std::uint8_t>(n, index.codec()->code_size());
  std::uint8_t* out = result.mutable_data();
  unlocked([&] { index.codes(first, n, out); });
  return result;
}

Array<float> refine_rows(const Index& index, std::size_t first, std::size_t n) {
  auto result = new_matrix<float>(n, index.codec()->d());
  float* out = result.mutable_data();
  unlocked([&] { index.refine_rows(first, n, out); });
  return result;
}

Array<std::uint8_t> stored_rows(const RefineRows& rows) {
  const std::size_t size = row_bytes(rows.kind(), rows.d());
  auto result = new_matrix<std::uint8_t>(rows.size(), size);
  std::uint8_t* out = result.mutable_data();
  unlocked([&] {
    for (std::size_t i = 0; i < rows.size(); ++i) {
      std::copy_n(rows.stored(i), size, out + i * size);
    }
  });
  return result;
}

std::unique_ptr<RefineRows> rows_from_array(RowKind kind, std::size_t d, const py::object& value) {
  const auto array = checked<std::uint8_t>(value, "array", 2, "uint8 (n, row_bytes)");
  require(static_cast<std::size_t>(array.shape(1)) == row_bytes(kind, d),
          "array has rows of another size");
  auto rows = std::make_unique<RefineRows>(kind, d);
  const std::uint8_t* next = array.data();
  unlocked([&] {
    rows->load(static_cast<std::size_t>(array.shape(0)), [&](std::uint8_t* out, std::size_t count) {
      std::copy_n(next, count, out);
      next += count;
    });
  });
  return rows;
}

void append(Index& index, const py::object& codes_value, const py::object& ids_value,
            RefineRows* rows, const py::object& replaced_value) {
  const auto codes = codes_argument(codes_value, index.codec()->code_size());
  const auto n = static_cast<std::size_t>(codes.shape(0));
  std::vector<std::int64_t> ids;
  if (!ids_value.is_none()) {
    ids = vector_argument<std::int64_t>(ids_value, "ids");
    require(ids.size() == n,
            "ids: " + std::to_string(ids.size()) + " for " + std::to_string(n) + " vectors");
  }
  std::optional<Selector> replaced;
  if (!replaced_value.is_none()) replaced = selector_argument(replaced_value);
  const std::uint8_t* in = codes.data();
  unlocked([&] {
    index.append(in, n, ids_value.is_none() ? nullptr : ids.data(), rows,
                 replaced.has_value() ? &*replaced : nullptr);
  });
}

// The array is read where it lies, so its byte order must be the machine's. NumPy has many equal
// dtype objects (of a pickle, of another library): they are compared by value.
RowKind row_kind(const py::array& array) {
  const py::dtype type = array.dtype();
  const bool native = type.attr("isnative").cast<bool>();
  if (native && type.kind() == 'f') {
    if (type.itemsize() == 4) return RowKind::float32;
    if (type.itemsize() == 2) return RowKind::float16;
  }
  throw py::type_error("refine must be float32 or float16 in the machine's byte order, got " +
                       describe(array));
}

// The array must outlive the index.
void borrow_refine_rows(Index& index, const py::array& array) {
  const RowKind kind = row_kind(array);
  require(array.ndim() == 2 && array.strides(1) == array.itemsize(),
          "refine must be a matrix with contiguous rows, got " + describe(array));
  require((array.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_) != 0,
          "refine must be aligned to its values, got an unaligned view; pass a copy");
  const BorrowedRows rows{array.data(), static_cast<std::size_t>(array.shape(0)), array.strides(0)};
  index.keep_refine_rows(RefineRows::borrow(kind, static_cast<std::size_t>(array.shape(1)), rows));
}

Array<std::int64_t> merged_ids(const Index& index, const Index& other, std::int64_t add_id) {
  return to_array(unlocked([&] { return index.merged_ids(other, add_id); }));
}

py::tuple settings_of(StoredIndex stored) {
  const IndexSettings& settings = stored.settings;
  return py::make_tuple(std::move(stored.index), settings.inverted, settings.nprobe,
                        settings.target_recall, settings.k_factor, py::bytes(settings.quantizer));
}

Array<std::int64_t> ids(const Index& index, std::size_t first, std::size_t n) {
  Array<std::int64_t> result(static_cast<py::ssize_t>(n));
  std::int64_t* out = result.mutable_data();
  unlocked([&] { index.ids(first, n, out); });
  return result;
}

py::tuple find(const Index& index, const py::object& value, const std::string& kind) {
  const auto ids = vector_argument<std::int64_t>(value, "ids");
  std::vector<std::int64_t> labels(ids.size());
  const Contents contents(index, kind, ids.size());
  unlocked([&] { index.find(ids.data(), ids.size(), labels.data(), contents.arrays()); });
  return py::make_tuple(to_array(labels), contents.result());
}

CodecMark codec_mark(const py::bytes& value) {
  const std::string_view bytes = value;
  CodecMark mark{};
  require(bytes.size() == mark.size(), "mark must have 16 bytes");
  std::copy(bytes.begin(), bytes.end(), mark.begin());
  return mark;
}

// Attaches the segments of some files and returns their sizes; removed: uint32 labels of each.
std::vector<std::size_t> attach_segments(Index& index, const std::vector<std::string>& paths,
                                         const py::bytes& mark, const py::list& removed,
                                         bool verify) {
  const CodecMark own = codec_mark(mark);
  std::vector<std::vector<std::uint32_t>> labels;
  labels.reserve(removed.size());
  for (const py::handle one : removed) {
    labels.push_back(
        vector_argument<std::uint32_t>(py::reinterpret_borrow<py::object>(one), "removed"));
  }
  std::vector<std::size_t> sizes;
  sizes.reserve(paths.size());
  unlocked([&] {
    std::vector<IndexPart> parts;
    parts.reserve(paths.size());
    for (const std::string& path : paths) {
      try {
        parts.push_back(map_segment(path, index, own, verify));
      } catch (const FormatError& error) {
        throw FormatError(path + ": " + error.what());
      }
    }
    index.attach(parts, labels);
    for (const IndexPart& part : parts) sizes.push_back(part.codes.size);
  });
  return sizes;
}

std::size_t remove(Index& index, const py::object& program) {
  const Selector selector = selector_argument(program);
  return unlocked([&] { return index.remove(selector); });
}

}  // namespace

void bind_index(py::module_& m) {
  py::enum_<Metric>(m, "Metric", "The metric of an index.")
      .value("inner_product", Metric::inner_product)
      .value("l2", Metric::l2)
      .value("cosine", Metric::cosine);
  py::enum_<RowKind>(m, "RowKind", "The number format of refine rows.")
      .value("float32", RowKind::float32)
      .value("float16", RowKind::float16)
      .value("int8", RowKind::int8);

  py::class_<RefineRows>(m, "RefineRows", "Rows for exact scores, to be appended to an index.")
      .def(py::init<RowKind, std::size_t>(), py::arg("kind"), py::arg("d"))
      .def(
          "append",
          [](RefineRows& self, const py::object& x, std::uint64_t first_row) {
            const RowsArgument argument(x, "x");
            const Rows rows = argument.rows();
            unlocked([&] { self.append(rows, "x", first_row); });
          },
          py::arg("x"), py::arg("first_row"),
          "Append rows; error messages count them from first_row.")
      .def("to_array", &stored_rows, "Return the rows as they are stored, uint8 (n, row_bytes).")
      .def_static("from_array", &rows_from_array, py::arg("kind"), py::arg("d"), py::arg("array"),
                  "Make rows from those of `to_array`.");

  py::class_<Index> index(m, "Index", "Codes, ids and refine rows, with search.");
  bind_search(index);
  bind_device(m, index);
  index.def(py::init<std::shared_ptr<const Codec>, Metric>(), py::arg("codec"), py::arg("metric"))
      .def_property_readonly("size", &Index::size, "Number of vectors.")
      .def_property_readonly("version", &Index::version, "Increases with every change.")
      .def_property_readonly("metric", &Index::metric, "The metric.")
      .def_property_readonly(
          "alpha", [](const Index& self) { return self.alpha().quarters; },
          "Alpha of the full score, in quarters.")
      .def_property_readonly("keeps_extra", &Index::keeps_extra,
                             "Whether there is a second byte per vector.")
      .def_property_readonly(
          "nbytes", [](const Index& self) { return unlocked([&] { return self.bytes(); }); },
          "Memory of vectors, ids and refine rows.")
      .def_property_readonly(
          "id_bytes", [](const Index& self) { return unlocked([&] { return self.id_bytes(); }); },
          "What files with these vectors hold of their ids.")
      .def_property_readonly("has_ids", &Index::has_ids, "Whether ids are explicit.")
      .def_property_readonly("refine_row_kind", &Index::refine_row_kind,
                             "Format of the refine rows, or None without any.")
      .def_property_readonly(
          "list_sizes",
          [](const Index& self) { return unlocked([&] { return self.list_sizes(); }); },
          "Vectors per list.")
      .def_property_readonly("codec", &Index::codec, "The codec.")
      .def("append", &append, py::arg("codes"), py::arg("ids") = py::none(),
           py::arg("rows") = py::none(), py::arg("replaced") = py::none(),
           "Append vectors, moving their refine rows, and remove those of before that a selector's "
           "program selects; on an exception nothing changes.")
      .def("codes", &codes, py::arg("first"), py::arg("n"), "Return codes by label.")
      .def("ids", &ids, py::arg("first"), py::arg("n"), "Return ids by label.")
      .def("find", &find, py::arg("ids"), py::arg("contents") = "",
           "Return the last label of each id, or -1, and their 'codes' or 'rows', or None.")
      .def(
          "keep_ids", [](Index& self) { unlocked([&] { self.keep_ids(); }); }, "Make ids explicit.")
      .def(
          "keep_refine_rows",
          [](Index& self, RowKind kind) {
            self.keep_refine_rows(RefineRows(kind, self.codec()->d()));
          },
          py::arg("kind"), "Keep refine rows from now on; the index must be empty.")
      .def("borrow_refine_rows", &borrow_refine_rows, py::arg("rows"),
           "Use rows of an array, found by id; it must outlive the index.")
      .def("refine_rows", &refine_rows, py::arg("first"), py::arg("n"),
           "Return refine rows by label.")
      .def(
          "merge",
          [](Index& self, Index& other, std::int64_t add_id) {
            unlocked([&] { self.merge(other, add_id); });
          },
          py::arg("other"), py::arg("add_id"), "Take all vectors of another index.")
      .def("merged_ids", &merged_ids, py::arg("other"), py::arg("add_id"),
           "Return the ids that `merge` gives to the vectors of another index.")
      .def("remove", &remove, py::arg("program"), "Remove the selected ids; return their number.")
      .def(
          "reset", [](Index& self) { unlocked([&] { self.reset(); }); }, "Remove all vectors.")
      .def_property_readonly("parts", &Index::parts,
                             "Number of parts: mapped segments, and vectors appended since.")
      .def(
          "write",
          [](const Index& self, int fd, const std::string& path, bool inverted,
             std::uint32_t nprobe, std::optional<double> target_recall, float k_factor,
             const std::string& quantizer) {
            const IndexSettings settings{inverted, nprobe, target_recall, k_factor, quantizer};
            const FileHandle file = file_handle(fd);
            unlocked([&] { write_index(self, settings, file, path); });
          },
          py::arg("fd"), py::arg("path"), py::arg("inverted"), py::arg("nprobe"),
          py::arg("target_recall"), py::arg("k_factor"), py::arg("quantizer"),
          "Write the index to an open file; path is for messages.")
      .def("attach_segments", &attach_segments, py::arg("paths"), py::arg("mark"),
           py::arg("removed"), py::arg("verify"),
           "Start an empty index with mapped segments, and return the number of vectors of each; "
           "from "
           "then on removals only mark vectors.")
      .def(
          "write_segment",
          [](const Index& self, int fd, const std::string& path, const py::bytes& mark, bool own) {
            const CodecMark bytes = codec_mark(mark);
            const FileHandle file = file_handle(fd);
            return unlocked([&] { return write_segment(self, bytes, own, file, path); });
          },
          py::arg("fd"), py::arg("path"), py::arg("mark"), py::arg("own"),
          "Write the vectors as a segment, or only the own ones; return their number.")
      .def(
          "removed_labels",
          [](const Index& self) {
            return to_array(unlocked([&] { return self.removed_labels(); }));
          },
          "Return the labels of vectors that are marked as removed.")
      .def_property_readonly(
          "next_id", [](const Index& self) { return unlocked([&] { return self.next_id(); }); },
          "The id of the next vector without one.")
      .def(
          "raise_next_id",
          [](Index& self, std::int64_t next) { unlocked([&] { self.raise_next_id(next); }); },
          py::arg("next"), "Give no id below this one to vectors without ids.")
      .def(
          "selected_ids",
          [](const Index& self, const py::object& program) {
            const Selector selector = selector_argument(program);
            return to_array(unlocked([&] { return self.selected_ids(selector); }));
          },
          py::arg("program"), "Return the ids of the vectors that a selector's program selects.")
      .def(
          "to_bytes",
          [](const Index& self, bool inverted, std::uint32_t nprobe,
             std::optional<double> target_recall, float k_factor, const std::string& quantizer) {
            const IndexSettings settings{inverted, nprobe, target_recall, k_factor, quantizer};
            return to_array(unlocked([&] { return index_to_bytes(self, settings); }));
          },
          py::arg("inverted"), py::arg("nprobe"), py::arg("target_recall"), py::arg("k_factor"),
          py::arg("quantizer"), "Return the index in the file format, uint8 (n,).");

  m.def(
      "read_index",
      [](const std::string& path) {
        return settings_of(unlocked([&] { return read_index(path); }));
      },
      py::arg("path"),
      "Read an index file; return the index, inverted, nprobe, target_recall, k_factor and "
      "quantizer.");
  m.def(
      "read_codes_and_map_rows",
      [](const std::string& path, bool verify) {
        return settings_of(unlocked([&] { return read_codes_and_map_rows(path, verify); }));
      },
      py::arg("path"), py::arg("verify"),
      "Read an index file, but use its refine rows where they lie; verify: read and check them.");
  m.def(
      "map_index",
      [](const std::string& path, bool verify) {
        return settings_of(unlocked([&] { return map_index(path, verify); }));
      },
      py::arg("path"), py::arg("verify"),
      "Map an index file, and return as `read_index`; verify: read and check all of it.");
  m.def(
      "index_from_bytes",
      [](const py::buffer& data) {
        const BytesArgument bytes(data);
        return settings_of(unlocked([&] { return index_from_bytes(bytes.data(), bytes.size()); }));
      },
      py::arg("data"), "Read an index from bytes, as `read_index` does from a file.");
}

}  // namespace waterfill
