// Bindings of what a device needs of codecs and indexes to do their work.
#include <pybind11/stl.h>

#include "arrays.hpp"
#include "codec/joint_encoding.hpp"
#include "encoding_tables.hpp"
#include "search_arguments.hpp"
#include "waterfill/codec/codec.hpp"
#include "waterfill/core/parallel_copy.hpp"
#include "waterfill/index/index.hpp"

namespace waterfill {
namespace {

py::dict scale_tables(const LogScale& scale) {
  py::dict dict;
  dict["values"] = Array<float>(256, scale.values());
  dict["thresholds"] = to_array(scale.thresholds());
  return dict;
}

py::dict rotation(const Codec& codec) {
  py::dict dict;
  const float* scales = codec.int16_scales().data();
  if (codec.uses_int8()) {
    add_rotation(codec.transform().int8_basis(), scales, dict);
    dict["offsets"] = to_array(codec.transform().int8_basis().offsets());
  } else {
    add_rotation(codec.transform().int16_basis(), scales, dict);
  }
  return dict;
}

py::list codebooks(const Codec& codec) {
  py::list list;
  for (std::size_t g = 0; g < codec.groups(); ++g) {
    const Int16Codebook& book = codec.int16_books()[g];
    list.append(py::make_tuple(codec.offsets()[g], codec.params().shapes[g].width,
                               array_of(book.values()), to_array(book.half_norms())));
  }
  return list;
}

// Second bytes: the column that is read, the one that is written, and the factor between them.
py::list second_bytes(const Codec& codec) {
  py::list list;
  for (const SecondByte& second : codec.params().second_bytes) {
    const std::vector<float>& scales = codec.int16_scales();
    list.append(py::make_tuple(second.first_column, second.column,
                               scales[second.column] / scales[second.first_column]));
  }
  return list;
}

py::object joint(const Codec& codec) {
  const JointEncoder* encoder = codec.joint_encoder();
  if (encoder == nullptr) return py::none();
  py::dict dict;
  dict["factors"] = to_array(encoder->factors());
  dict["lengths"] = to_array(encoder->lengths());
  dict["weighted"] = to_array(encoder->weighted());
  return dict;
}

py::dict encoding_tables(const Codec& codec) {
  const CodecParams& p = codec.params();
  py::dict dict;
  dict["normalize"] = p.normalize;
  dict["mean"] = to_array(p.mean);
  dict["centroids"] = to_array(p.partition.centroids());
  dict["assignment"] = assignment(p.partition);
  dict["uses_int8"] = codec.uses_int8();
  dict["rotation"] = rotation(codec);
  dict["scales"] = to_array(codec.int16_scales());
  dict["books"] = codebooks(codec);
  dict["seconds"] = second_bytes(codec);
  dict["joint"] = joint(codec);
  dict["alpha"] = p.alpha_ip.quarters;
  dict["scale"] = scale_tables(p.scale);
  dict["squared_cells"] =
      Array<float>(static_cast<py::ssize_t>(codec.groups() * kCells), codec.squared_cells());
  dict["cell_bytes"] = codec.cell_bytes();
  return dict;
}

Array<float> side_table(const SideTable& table) {
  std::vector<float> values(table.high, table.high + 16);
  values.insert(values.end(), table.low, table.low + 16);
  values.push_back(table.zero);
  return to_array(values);
}

py::dict score_tables(const Index& index) {
  const Codec& codec = *index.codec();
  const CodecParams& p = codec.params();
  const ScoreTables tables = unlocked([&] { return index.score_tables(); });
  const std::size_t entries = codec.groups() * kCentroids;
  std::vector<std::uint32_t> widths;
  std::vector<std::uint8_t> binary;
  for (const Shape& shape : p.shapes) {
    widths.push_back(shape.width);
    binary.push_back(shape.kind == GroupKind::binary ? 1 : 0);
  }
  py::dict dict;
  dict["z"] = side_table(tables.z);
  dict["rho"] = side_table(tables.rho);
  dict["factor"] = side_table(tables.factor);
  dict["terms"] = py::make_tuple(tables.gain, tables.middle, tables.norm_range);
  dict["lines"] = to_array(tables.lines);
  dict["lengths"] = to_array(tables.lengths);
  dict["alphas"] = py::make_tuple(p.alpha_ip.quarters, index.alpha().quarters);
  dict["scale"] = Array<float>(256, p.scale.values());
  dict["widths"] = to_array(widths);
  dict["binary"] = to_array(binary);
  dict["pq_multiplier"] = p.pq_multiplier;
  dict["books"] = array_of(p.codebooks.books);
  dict["squared_lengths"] =
      Array<float>(static_cast<py::ssize_t>(entries), codec.squared_lengths());
  dict["squared_cells"] =
      Array<float>(static_cast<py::ssize_t>(codec.groups() * kCells), codec.squared_cells());
  dict["centroids"] = to_array(index.centroids());
  dict["points"] = to_array(codec.points());
  dict["projected_centroids"] =
      p.partition.empty() ? Array<float>(0) : to_array(codec.projected_centroids());
  dict["stride"] = codec.transform().stride();
  dict["p"] = codec.transform().p();
  return dict;
}

py::tuple lists_of_queries(const ScanTables::Lists& some) {
  return py::make_tuple(to_array(some.limits), to_array(some.lists), to_array(some.terms));
}

py::object scan_tables(const Index& index, const py::object& x, std::size_t k,
                       std::size_t candidates, std::size_t coarse_groups, float prune_sigma,
                       const py::object& probes, const py::object& selector,
                       std::size_t refine_candidates) {
  const RowsArgument argument(x, "x");
  const Rows queries = argument.rows();
  const SearchArguments arguments(queries, k, candidates, coarse_groups, prune_sigma, probes,
                                  selector, refine_candidates);
  const std::optional<ScanTables> tables =
      unlocked([&] { return index.scan_tables(queries, arguments.params()); });
  if (!tables.has_value()) return py::none();
  py::dict dict;
  dict["pairs"] = to_array(tables->pairs);
  dict["luts"] = to_array(tables->luts);
  dict["units"] = to_array(tables->units);
  dict["projected"] = to_array(tables->projected);
  dict["scaled"] = to_array(tables->scaled);
  dict["nearest"] = lists_of_queries(tables->nearest);
  dict["others"] = lists_of_queries(tables->others);
  dict["bounds"] = to_array(tables->bounds);
  dict["masks"] = to_array(tables->masks);
  return dict;
}

py::dict range_tables(const Index& index, const py::object& x, float radius,
                      const py::object& probes, const py::object& selector) {
  const RowsArgument argument(x, "x");
  const Rows queries = argument.rows();
  const SearchArguments arguments(queries, 1, 1, 0, 0, probes, selector, 0);
  const ScanTables tables =
      unlocked([&] { return index.range_tables(queries, radius, arguments.params()); });
  py::dict dict;
  dict["units"] = to_array(tables.units);
  dict["projected"] = to_array(tables.projected);
  dict["lists"] = lists_of_queries(tables.nearest);
  dict["masks"] = to_array(tables.masks);
  dict["least"] = to_array(tables.least);
  return dict;
}

py::tuple merge_range(const Index& index, const py::object& x, const py::object& limits,
                      const py::object& slots, const py::object& scores) {
  const RowsArgument argument(x, "x");
  const Rows queries = argument.rows();
  const auto ends = vector_argument<std::size_t>(limits, "limits");
  const auto where = vector_argument<std::uint32_t>(slots, "slots");
  const auto values = vector_argument<float>(scores, "scores");
  const RangeResult found =
      unlocked([&] { return index.merge_range(queries, ends, where, values); });
  return py::make_tuple(to_array(found.limits), to_array(found.distances), to_array(found.ids));
}

py::tuple block_table(const Index& index) {
  const BlockTable table = unlocked([&] { return index.block_table(); });
  return py::make_tuple(to_array(table.lists), to_array(table.slots), to_array(table.sizes));
}

// A one-dimensional array of bytes to be written to.
std::uint8_t* bytes_of(const py::object& value, const char* name, std::size_t size) {
  auto array = checked<std::uint8_t>(value, name, 1, "uint8 (n,)");
  require(static_cast<std::size_t>(array.size()) == size,
          std::string(name) + " must have " + std::to_string(size) + " bytes");
  return array.mutable_data();
}

void copy_bytes(const py::object& x, const py::object& out) {
  const auto from = checked<std::uint8_t>(x, "x", 1, "uint8 (n,)");
  const auto size = static_cast<std::size_t>(from.size());
  std::uint8_t* const target = bytes_of(out, "out", size);
  const std::uint8_t* const source = from.data();
  unlocked([&] { copy_for_bus(source, target, size); });
}

void copy_blocks(const Index& index, std::size_t first, std::size_t n, const py::object& high,
                 const py::object& low, const py::object& scale, const py::object& extra) {
  const Layout layout(index.codec()->groups());
  const BlockArrays out{bytes_of(high, "high", n * layout.block_bytes()),
                        bytes_of(low, "low", n * kBlock * layout.low_bytes()),
                        bytes_of(scale, "scale", n * kBlock),
                        index.keeps_extra() ? bytes_of(extra, "extra", n * kBlock) : nullptr};
  unlocked([&] { index.copy_blocks(first, n, out); });
}

}  // namespace

void bind_device(py::module_& m, py::class_<Index>& index) {
  m.def("encoding_tables", &encoding_tables, py::arg("codec"),
        "Return the arrays that encoding reads, by name.");
  m.def("copy_bytes", &copy_bytes, py::arg("x"), py::arg("out"),
        "Copy bytes to an array of the same size, with all threads.");
  index
      .def("scan_tables", &scan_tables, py::arg("x"), py::arg("k"), py::arg("candidates"),
           py::arg("coarse_groups"), py::arg("prune_sigma"), py::arg("probes"), py::arg("selector"),
           py::arg("refine_candidates"),
           "Return what a device needs to find candidates for `merge_shares`, by name, or None if "
           "all vectors are candidates. Lists of queries are limits, lists and terms.")
      .def("range_tables", &range_tables, py::arg("x"), py::arg("radius"), py::arg("probes"),
           py::arg("selector"),
           "Return what a device needs to find the vectors within a radius, by name: see "
           "`merge_range`.")
      .def(
          "merge_range", &merge_range, py::arg("x"), py::arg("limits"), py::arg("slots"),
          py::arg("scores"),
          "Return what `range_search` does, from the slots and full scores of what a device found.")
      .def("score_tables", &score_tables, "Return the arrays that scores depend on, by name.")
      .def("block_table", &block_table,
           "Return the list, the first slot and the size of each block of 32 vectors.")
      .def("copy_blocks", &copy_blocks, py::arg("first"), py::arg("n"), py::arg("high"),
           py::arg("low"), py::arg("scale"), py::arg("extra"),
           "Copy blocks of codes into arrays: high nibbles, low nibbles, scale and second bytes.");
}

}  // namespace waterfill
