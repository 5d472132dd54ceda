#include <pybind11/stl.h>

#include <optional>

#include "arrays.hpp"
#include "waterfill/codec/codec.hpp"
#include "waterfill/file/serialize.hpp"
#include "waterfill/training/codec_training.hpp"

namespace waterfill {
namespace {

using PyShape = std::pair<std::uint32_t, std::string>;  // width, kind

std::shared_ptr<Codec> train(const py::object& mean, const py::object& basis,
                             const py::object& weights, const std::vector<PyShape>& shapes,
                             const std::vector<std::pair<std::uint32_t, std::uint32_t>>& rests,
                             const py::object& centroids, const py::object& sample,
                             const py::object& held_out, std::uint64_t seed, int iterations,
                             std::optional<std::uint32_t> alpha, float joint, double constant_norm,
                             double pq_multiplier, bool normalize, const std::string& plan) {
  CodecParams params;
  params.mean = vector_argument<float>(mean, "mean");
  params.basis = vector_argument<float>(basis, "basis", 2);
  params.weights = vector_argument<float>(weights, "weights");
  for (const auto& [width, kind] : shapes) {
    params.shapes.push_back({width, kind == "binary" ? GroupKind::binary : GroupKind::vector});
  }
  for (const auto& [column, whole] : rests) params.rests.push_back({column, whole});
  std::vector<float> rows_of_cells = vector_argument<float>(centroids, "centroids", 2);
  if (!rows_of_cells.empty()) params.partition = Partition(std::move(rows_of_cells), params.mean);
  params.joint = joint;
  params.constant_norm = constant_norm;
  params.pq_multiplier = pq_multiplier;
  params.normalize = normalize;
  params.plan = plan;
  const RowsArgument rows(sample, "sample"), queries(held_out, "held_out");
  return unlocked([&] {
    TrainParams train{seed, iterations, {}};
    if (alpha.has_value()) train.alpha = Alpha{*alpha};
    return train_codec(std::move(params), rows.rows(), queries.rows(), train);
  });
}

void encode(const Codec& codec, const py::object& x, const py::object& value,
            const py::object& cells_value) {
  const RowsArgument argument(x, "x");
  const Rows rows = argument.rows();
  auto codes = codes_argument(value, codec.code_size());
  require(static_cast<std::size_t>(codes.shape(0)) == rows.n,
          "codes must have a row for each of x");
  std::vector<std::uint16_t> cells;
  if (!cells_value.is_none()) {
    cells = vector_argument<std::uint16_t>(cells_value, "cells");
    require(cells.size() == rows.n, "cells must have a value for each row of x");
  }
  std::uint8_t* out = codes.mutable_data();
  unlocked([&] { codec.encode(rows, out, cells_value.is_none() ? nullptr : cells.data()); });
}

Array<float> decode(const Codec& codec, const py::object& value, std::uint32_t quarters) {
  require(quarters <= kMaxQuarters, "alpha must be from 0 to 1");
  const auto codes = codes_argument(value, codec.code_size());
  const auto n = static_cast<std::size_t>(codes.shape(0));
  auto x = new_matrix<float>(n, codec.d());
  const std::uint8_t* in = codes.data();
  float* out = x.mutable_data();
  unlocked([&] { codec.decode(in, n, Alpha{quarters}, out); });
  return x;
}

py::dict settings(const Codec& codec) {
  const CodecParams& p = codec.params();
  py::dict dict;
  dict["alpha_ip"] = p.alpha_ip.quarters;
  dict["alpha_l2"] = p.alpha_l2.quarters;
  dict["depth_ip"] = py::make_tuple(p.depth_ip.refine_factor, p.depth_ip.scan_groups);
  dict["depth_l2"] = py::make_tuple(p.depth_l2.refine_factor, p.depth_l2.scan_groups);
  dict["reach"] = py::make_tuple(p.depth_ip.reach, p.depth_l2.reach);
  dict["offset"] = py::make_tuple(p.offset.middle(), p.offset.spread(), p.offset.reach());
  dict["recall"] = py::make_tuple(p.recall_ip, p.recall_l2);
  dict["joint"] = p.joint;
  dict["constant_norm"] = p.constant_norm;
  dict["pq_multiplier"] = p.pq_multiplier;
  dict["normalize"] = p.normalize;
  dict["scale"] = py::make_tuple(p.scale.low(), p.scale.step());
  dict["cell_length"] = py::make_tuple(p.cell_length.low(), p.cell_length.step());
  return dict;
}

// The trained arrays, copied, for those who want to look or to compute a score by hand.
py::dict arrays(const Codec& codec) {
  const CodecParams& p = codec.params();
  const auto matrix = [](const auto& values, std::size_t columns) {
    auto result = new_matrix<float>(values.size() / columns, columns);
    std::copy(values.begin(), values.end(), result.mutable_data());
    return result;
  };
  std::vector<PyShape> shapes;
  for (const Shape& shape : p.shapes) {
    shapes.emplace_back(shape.width, shape.kind == GroupKind::vector ? "vector" : "binary");
  }
  py::dict dict;
  dict["mean"] = to_array(p.mean);
  dict["basis"] = matrix(p.basis, codec.d());
  dict["weights"] = to_array(p.weights);
  dict["books"] = matrix(p.codebooks.books, 256);
  dict["cells"] = matrix(p.codebooks.cells, 16);
  dict["centroids"] = matrix(p.partition.centroids(), codec.d());
  std::vector<std::pair<std::uint32_t, std::uint32_t>> rests;
  for (const Rest& rest : p.rests) rests.emplace_back(rest.column, rest.whole);
  dict["rests"] = rests;
  dict["shapes"] = shapes;
  return dict;
}

}  // namespace

void bind_codec(py::module_& m) {
  m.def(
      "project_directions",
      [](const py::object& mean, const py::object& basis, const py::object& weights,
         const py::object& x) {
        const Transform transform(vector_argument<float>(mean, "mean"),
                                  vector_argument<float>(basis, "basis", 2),
                                  vector_argument<float>(weights, "weights"));
        const RowsArgument argument(x, "x");
        const Rows rows = argument.rows();
        require(rows.d == transform.d(), "x and mean must have the same number of dimensions");
        auto y = new_matrix<float>(rows.n, transform.stride());
        std::vector<float> rho(rows.n);
        float* out = y.mutable_data();
        unlocked(
            [&] { transform.directions(rows, Origins{transform.mean().data()}, out, rho.data()); });
        return py::make_tuple(y, to_array(rho), transform.p());
      },
      py::arg("mean"), py::arg("basis"), py::arg("weights"), py::arg("x"));

  m.def(
      "train_partition",
      [](const py::object& sample, const py::object& mean, std::size_t cells, std::uint64_t seed) {
        const RowsArgument argument(sample, "sample");
        const Rows rows = argument.rows();
        const auto origin = vector_argument<float>(mean, "mean");
        require(origin.size() == rows.d, "sample and mean must have the same number of dimensions");
        const Partition made = unlocked([&] { return train_partition(rows, origin, cells, seed); });
        auto result = new_matrix<float>(made.size(), made.dim());
        std::copy(made.centroids().begin(), made.centroids().end(), result.mutable_data());
        return result;
      },
      py::arg("sample"), py::arg("mean"), py::arg("cells"), py::arg("seed"));
  m.def(
      "residuals",
      [](const py::object& x, const py::object& mean, const py::object& centroids) {
        const RowsArgument argument(x, "x");
        const Rows rows = argument.rows();
        const Partition cells(vector_argument<float>(centroids, "centroids", 2),
                              vector_argument<float>(mean, "mean"));
        require(rows.d == cells.dim(), "x and mean must have the same number of dimensions");
        auto result = new_matrix<float>(rows.n, rows.d);
        float* out = result.mutable_data();
        unlocked([&] {
          std::vector<std::uint16_t> numbers(rows.n);
          cells.assign(rows, numbers.data());
          for (std::size_t i = 0; i < rows.n; ++i) {
            const float* centroid = cells.centroid(numbers[i]);
            for (std::size_t k = 0; k < rows.d; ++k)
              out[i * rows.d + k] = rows.row(i)[k] - centroid[k];
          }
        });
        return result;
      },
      py::arg("x"), py::arg("mean"), py::arg("centroids"));

  py::class_<Codec, std::shared_ptr<Codec>>(m, "Codec")
      .def_static("train", &train, py::kw_only(), py::arg("mean"), py::arg("basis"),
                  py::arg("weights"), py::arg("shapes"), py::arg("rests"), py::arg("centroids"),
                  py::arg("sample"), py::arg("held_out"), py::arg("seed"), py::arg("iterations"),
                  py::arg("alpha"), py::arg("joint"), py::arg("constant_norm"),
                  py::arg("pq_multiplier"), py::arg("normalize"), py::arg("plan"))
      .def_property_readonly("d", &Codec::d)
      .def_property_readonly("code_size", &Codec::code_size)
      .def_property_readonly("groups", &Codec::groups)
      .def_property_readonly("cells", [](const Codec& self) { return self.partition().size(); })
      .def_property_readonly("reach_rows",
                             [](const Codec& self) { return self.params().reach_rows; })
      .def_property_readonly("plan", [](const Codec& self) { return self.params().plan; })
      .def_property(
          "manifest", [](const Codec& self) { return self.params().manifest; },
          &Codec::set_manifest)
      .def_property(
          "distortion", [](const Codec& self) { return self.params().distortion; },
          &Codec::set_distortion)
      .def_property_readonly("settings", &settings)
      .def_property_readonly("arrays", &arrays)
      .def("encode", &encode, py::arg("x"), py::arg("codes"), py::arg("cells") = py::none())
      .def("decode", &decode, py::arg("codes"), py::arg("quarters"))
      .def(
          "to_bytes",
          [](const Codec& self, bool manifest) {
            return py::bytes(codec_to_bytes(self, manifest));
          },
          py::arg("manifest") = true)
      .def_static("from_bytes", [](const py::bytes& data) {
        const std::string_view view = data;
        return codec_from_bytes(view.data(), view.size());
      });
}

}  // namespace waterfill
