#include <pybind11/stl.h>

#include "arrays.hpp"
#include "waterfill/codec.hpp"
#include "waterfill/serialize.hpp"
#include "waterfill/train.hpp"

namespace waterfill {
namespace {

using PyShape = std::pair<std::uint32_t, std::string>;  // width, kind

std::shared_ptr<Codec> train(const py::object& mean, const py::object& basis,
                             const py::object& weights, const std::vector<PyShape>& shapes,
                             const py::object& sample, const py::object& held_out,
                             std::uint64_t seed, int iterations, double constant_norm,
                             double pq_multiplier, bool normalize, const std::string& plan) {
  CodecParams params;
  params.mean = vector_argument<float>(mean, "mean");
  params.basis = vector_argument<float>(basis, "basis", 2);
  params.weights = vector_argument<float>(weights, "weights");
  for (const auto& [width, kind] : shapes) {
    params.shapes.push_back({width, kind == "binary" ? GroupKind::binary : GroupKind::vector});
  }
  params.constant_norm = constant_norm;
  params.pq_multiplier = pq_multiplier;
  params.normalize = normalize;
  params.plan = plan;
  const RowsArgument rows(sample, "sample"), queries(held_out, "held_out");
  return unlocked([&] {
    return train_codec(std::move(params), rows.rows(), queries.rows(), {seed, iterations});
  });
}

void encode(const Codec& codec, const py::object& x, const py::object& value) {
  const RowsArgument argument(x, "x");
  const Rows rows = argument.rows();
  auto codes = codes_argument(value, codec.code_size());
  require(static_cast<std::size_t>(codes.shape(0)) == rows.n,
          "codes must have a row for each of x");
  std::uint8_t* out = codes.mutable_data();
  unlocked([&] { codec.encode(rows, out); });
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
  const auto matrix = [](const std::vector<float>& values, std::size_t columns) {
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
        unlocked([&] { transform.directions(rows, out, rho.data()); });
        return py::make_tuple(y, to_array(rho), transform.p());
      },
      py::arg("mean"), py::arg("basis"), py::arg("weights"), py::arg("x"));

  py::class_<Codec, std::shared_ptr<Codec>>(m, "Codec")
      .def_static("train", &train, py::kw_only(), py::arg("mean"), py::arg("basis"),
                  py::arg("weights"), py::arg("shapes"), py::arg("sample"), py::arg("held_out"),
                  py::arg("seed"), py::arg("iterations"), py::arg("constant_norm"),
                  py::arg("pq_multiplier"), py::arg("normalize"), py::arg("plan"))
      .def_property_readonly("d", &Codec::d)
      .def_property_readonly("code_size", &Codec::code_size)
      .def_property_readonly("plan", [](const Codec& self) { return self.params().plan; })
      .def_property_readonly("settings", &settings)
      .def_property_readonly("arrays", &arrays)
      .def("encode", &encode, py::arg("x"), py::arg("codes"))
      .def("decode", &decode, py::arg("codes"), py::arg("quarters"))
      .def("to_bytes", [](const Codec& self) { return py::bytes(codec_to_bytes(self)); })
      .def_static("from_bytes", [](const py::bytes& data) {
        const std::string_view view = data;
        return codec_from_bytes(view.data(), view.size());
      });
}

}  // namespace waterfill
