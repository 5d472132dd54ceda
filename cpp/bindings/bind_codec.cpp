// Bindings of the codec, its training, and the transforms that training uses.
#include <pybind11/stl.h>

#include <algorithm>
#include <optional>

#include "arrays.hpp"
#include "encoding_tables.hpp"
#include "waterfill/codec/codec.hpp"
#include "waterfill/file/codec_file.hpp"
#include "waterfill/training/codec_training.hpp"
#include "waterfill/training/partition_training.hpp"

namespace waterfill {
namespace {

using PyShape = std::pair<std::uint32_t, std::string>;  // width, kind

AssignmentRule rule_of(bool by_direction) {
  return by_direction ? AssignmentRule::direction : AssignmentRule::nearest;
}

// A function of counted work that tells which share of the whole it is; None if `tell` is None.
py::object share_of(std::uint64_t whole, const py::object& tell) {
  if (tell.is_none()) return tell;
  return py::cpp_function([whole, tell](std::uint64_t done) {
    tell(static_cast<double>(std::min(done, whole)) / static_cast<double>(whole));
  });
}

Codebooks given_codebooks(const py::object& books, const py::object& cells, std::size_t columns) {
  const auto values = vector_argument<float>(books, "codebooks");
  const auto means = vector_argument<float>(cells, "codebooks");
  require(values.size() == columns * kCentroids && means.size() == columns * kCells,
          "codebooks must have 256 values and 16 means per column");
  return {{values.begin(), values.end()}, {means.begin(), means.end()}};
}

std::shared_ptr<Codec> train(
    const py::object& mean, const py::object& basis, const py::object& weights,
    const std::vector<PyShape>& shapes,
    const std::vector<std::pair<std::uint32_t, std::uint32_t>>& second_bytes,
    const py::object& centroids, bool by_direction, const py::object& sample,
    const py::object& held_out, std::uint64_t seed, int iterations,
    std::optional<std::uint32_t> alpha, float joint, double constant_norm, double pq_multiplier,
    bool normalize, const std::string& plan, bool shared, const py::object& codebooks,
    const py::object& tell) {
  CodecParams params;
  params.mean = vector_argument<float>(mean, "mean");
  params.basis = vector_argument<float>(basis, "basis", 2);
  params.weights = vector_argument<float>(weights, "weights");
  params.shapes = shapes_of(shapes);
  for (const auto& [column, first_column] : second_bytes)
    params.second_bytes.push_back({column, first_column});
  std::vector<float> cells = vector_argument<float>(centroids, "centroids", 2);
  if (!cells.empty()) {
    params.partition = Partition(std::move(cells), params.mean, rule_of(by_direction));
  }
  params.joint = joint;
  params.constant_norm = constant_norm;
  params.pq_multiplier = pq_multiplier;
  params.normalize = normalize;
  params.plan = plan;
  const RowsArgument rows(sample, "sample"), queries(held_out, "held_out");
  TrainParams train{seed, iterations, {}, shared, false};
  if (!codebooks.is_none()) {
    const auto [books, means] = codebooks.cast<std::pair<py::object, py::object>>();
    params.codebooks = given_codebooks(books, means, params.weights.size());
    train.with_codebooks = true;
  }
  const auto work = [&] {
    if (alpha.has_value()) train.alpha = Alpha{*alpha};
    return train_codec(std::move(params), rows.rows(), queries.rows(), train);
  };
  return unlocked(work, share_of(kTrainingWork, tell));
}

void encode(const Codec& codec, const py::object& x, const py::object& value,
            const py::object& cells_value) {
  const RowsArgument argument(x, "x");
  const Rows rows = argument.rows();
  auto codes = codes_argument(value, codec.code_size());
  require(static_cast<std::size_t>(codes.shape(0)) == rows.n,
          "codes must have one row per row of x");
  std::vector<std::uint16_t> cells;
  if (!cells_value.is_none()) {
    cells = vector_argument<std::uint16_t>(cells_value, "cells");
    require(cells.size() == rows.n, "cells must have one value per row of x");
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
  dict["depth_ip"] = py::make_tuple(p.depth_ip.refine_factor, p.depth_ip.coarse_groups);
  dict["depth_l2"] = py::make_tuple(p.depth_l2.refine_factor, p.depth_l2.coarse_groups);
  dict["prune_sigma"] = py::make_tuple(p.depth_ip.prune_sigma, p.depth_l2.prune_sigma);
  dict["offset"] =
      py::make_tuple(p.offset.middle(), p.offset.norm_range(), p.offset.centroid_range());
  dict["recall"] = py::make_tuple(p.recall_ip, p.recall_l2);
  dict["joint"] = p.joint;
  dict["constant_norm"] = p.constant_norm;
  dict["pq_multiplier"] = p.pq_multiplier;
  dict["normalize"] = p.normalize;
  dict["by_direction"] = p.partition.by_direction();
  dict["scale"] = py::make_tuple(p.scale.low(), p.scale.step());
  dict["cell_length"] = py::make_tuple(p.cell_length.low(), p.cell_length.step());
  return dict;
}

// By metric: the shares of neighbors outside the 2^i nearest lists, and their decay.
py::dict list_recall(const Codec& codec) {
  py::dict dict;
  const CodecParams& p = codec.params();
  dict["ip"] = py::make_tuple(p.list_recall_ip.missed, p.list_recall_ip.decay);
  dict["l2"] = py::make_tuple(p.list_recall_l2.missed, p.list_recall_l2.decay);
  return dict;
}

// Copies of the trained arrays, for inspection and for scores computed elsewhere.
py::dict arrays(const Codec& codec) {
  const CodecParams& p = codec.params();
  const auto matrix = [](const auto& values, std::size_t columns) {
    auto result = new_matrix<float>(values.size() / columns, columns);
    std::copy(values.begin(), values.end(), result.mutable_data());
    return result;
  };
  std::vector<PyShape> shapes;
  shapes.reserve(p.shapes.size());
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
  std::vector<std::pair<std::uint32_t, std::uint32_t>> second_bytes;
  second_bytes.reserve(p.second_bytes.size());
  for (const SecondByte& byte : p.second_bytes) {
    second_bytes.emplace_back(byte.column, byte.first_column);
  }
  dict["rests"] = second_bytes;
  dict["shapes"] = shapes;
  return dict;
}

Array<float> routing_vectors(const Codec& codec) {
  const std::vector<float> rows = codec.partition().routing_vectors();
  auto result = new_matrix<float>(codec.partition().size(), codec.d());
  std::copy(rows.begin(), rows.end(), result.mutable_data());
  return result;
}

py::tuple project_directions(const py::object& mean, const py::object& basis,
                             const py::object& weights, const py::object& x) {
  const Transform transform(vector_argument<float>(mean, "mean"),
                            vector_argument<float>(basis, "basis", 2),
                            vector_argument<float>(weights, "weights"));
  const RowsArgument argument(x, "x");
  const Rows rows = argument.rows();
  require_dimensions(rows, "x", transform.d());
  auto y = new_matrix<float>(rows.n, transform.stride());
  std::vector<float> rho(rows.n);
  float* out = y.mutable_data();
  unlocked(
      [&] { transform.directions(rows, CodingCenters{transform.mean().data()}, out, rho.data()); });
  return py::make_tuple(y, to_array(rho), transform.p());
}

Array<float> partition_centroids(const py::object& sample, const py::object& mean,
                                 std::size_t cells, bool by_direction, std::uint64_t seed,
                                 const py::object& tell) {
  const RowsArgument argument(sample, "sample");
  const Rows rows = argument.rows();
  const auto center = vector_argument<float>(mean, "mean");
  require_dimensions(rows, "sample", center.size());
  const Partition made =
      unlocked([&] { return train_partition(rows, center, cells, rule_of(by_direction), seed); },
               share_of(kPartitionWork, tell));
  auto result = new_matrix<float>(made.size(), made.dim());
  std::copy(made.centroids().begin(), made.centroids().end(), result.mutable_data());
  return result;
}

Array<float> residuals(const py::object& x, const py::object& mean, const py::object& centroids,
                       bool by_direction) {
  const RowsArgument argument(x, "x");
  const Rows rows = argument.rows();
  const Partition cells(vector_argument<float>(centroids, "centroids", 2),
                        vector_argument<float>(mean, "mean"), rule_of(by_direction));
  require_dimensions(rows, "x", cells.dim());
  auto result = new_matrix<float>(rows.n, rows.d);
  float* out = result.mutable_data();
  unlocked([&] {
    std::vector<std::uint16_t> numbers(rows.n);
    cells.assign(rows, numbers.data());
    for (std::size_t i = 0; i < rows.n; ++i) {
      const float* centroid = cells.centroid(numbers[i]);
      for (std::size_t k = 0; k < rows.d; ++k) out[i * rows.d + k] = rows.row(i)[k] - centroid[k];
    }
  });
  return result;
}

}  // namespace

void bind_codec(py::module_& m) {
  m.def("project_directions", &project_directions, py::arg("mean"), py::arg("basis"),
        py::arg("weights"), py::arg("x"),
        "Return the padded coordinates of directions from the mean, the distances from it, and the "
        "number of coordinates.");
  m.def("train_partition", &partition_centroids, py::arg("sample"), py::arg("mean"),
        py::arg("cells"), py::arg("by_direction"), py::arg("seed"), py::arg("tell") = py::none(),
        "Return k-means centroids of a sample; by direction, the means of spherical k-means. tell: "
        "called with the share that is done.");
  m.def("residuals", &residuals, py::arg("x"), py::arg("mean"), py::arg("centroids"),
        py::arg("by_direction"), "Return the rows minus the centroids of their cells.");

  py::class_<Codec, std::shared_ptr<Codec>>(m, "Codec", "A trained codec.")
      .def_static("train", &train, py::kw_only(), py::arg("mean"), py::arg("basis"),
                  py::arg("weights"), py::arg("shapes"), py::arg("rests"), py::arg("centroids"),
                  py::arg("by_direction"), py::arg("sample"), py::arg("held_out"), py::arg("seed"),
                  py::arg("iterations"), py::arg("alpha"), py::arg("joint"),
                  py::arg("constant_norm"), py::arg("pq_multiplier"), py::arg("normalize"),
                  py::arg("plan"), py::arg("shared") = false, py::arg("codebooks") = py::none(),
                  py::arg("tell") = py::none(),
                  "Train codebooks and calibrate alphas, scales and search depths. shared: groups "
                  "of one width have the same codebook. codebooks: as `CodebookTraining.result`, "
                  "instead of training some. tell: called with the share that is done.")
      .def_property_readonly("d", &Codec::d, "Number of dimensions.")
      .def_property_readonly("code_size", &Codec::code_size, "Bytes per code.")
      .def_property_readonly("groups", &Codec::groups, "Number of groups.")
      .def_property_readonly(
          "cells", [](const Codec& self) { return self.partition().size(); },
          "Number of cells; 0 without a partition.")
      .def_property_readonly(
          "calibration_rows", [](const Codec& self) { return self.params().calibration_rows; },
          "Collection size for which prune_sigma and the recall of lists were calibrated; 0 if "
          "unknown.")
      .def_property_readonly("list_recall", &list_recall,
                             "By metric: the shares of the ten nearest outside the 2^i nearest "
                             "lists, and their decay with the collection; empty if not measured.")
      .def_property_readonly(
          "plan", [](const Codec& self) { return self.params().plan; }, "The plan as JSON.")
      .def_property(
          "manifest", [](const Codec& self) { return self.annotations().manifest; },
          [](const Codec& self, std::string text) { self.set_manifest(std::move(text)); },
          "The manifest as JSON; empty if there is none.")
      .def_property(
          "distortion", [](const Codec& self) { return self.annotations().distortion; },
          [](const Codec& self, double value) { self.set_distortion(value); },
          "Mean squared error of held-out directions; 0 if unknown.")
      .def_property_readonly("settings", &settings, "Scalar parameters by name.")
      .def_property_readonly("routing_vectors", &routing_vectors,
                             "The centroids that vectors and queries are compared with: divided by "
                             "their norms if cells are found by direction.")
      .def_property_readonly("arrays", &arrays, "Copies of the trained arrays by name.")
      .def("encode", &encode, py::arg("x"), py::arg("codes"), py::arg("cells") = py::none(),
           "Encode rows into a preallocated array, with given or with the nearest cells.")
      .def("decode", &decode, py::arg("codes"), py::arg("quarters"),
           "Return the decoded vectors for alpha in quarters.")
      .def(
          "to_bytes",
          [](const Codec& self, bool manifest) {
            return py::bytes(codec_to_bytes(self, manifest));
          },
          py::arg("manifest") = true, "Return the codec in the file format.")
      .def_static(
          "from_bytes",
          [](const py::bytes& data) {
            const std::string_view view = data;
            return codec_from_bytes(view.data(), view.size());
          },
          py::arg("data"), "Read a codec from bytes of the file format.");
}

}  // namespace waterfill
