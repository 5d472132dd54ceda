// Bindings of training whose rows a device looks at: k-means of codebooks and of cells.
#include <pybind11/stl.h>

#include "arrays.hpp"
#include "encoding_tables.hpp"
#include "training/codebook_training.hpp"
#include "waterfill/training/partition_training.hpp"

namespace waterfill {
namespace {

using Groups = CodebookTraining::Groups;
using PyShape = std::pair<std::uint32_t, std::string>;  // width, kind

std::unique_ptr<CodebookTraining> new_codebooks(const std::vector<PyShape>& shapes, std::size_t n,
                                                std::uint64_t seed, int iterations) {
  require(n >= 1, "n must be at least 1");
  return std::make_unique<CodebookTraining>(shapes_of(shapes), n, seed, iterations);
}

const KMeans& run_of(const CodebookTraining& training, std::size_t group) {
  require(group + 1 < training.offsets().size(), "group: expected the number of a group");
  return training.run(group);
}

// ranges: the smallest and the largest value of each of the groups. histograms: a row per group, of
// which those of one dimension count.
void start(CodebookTraining& training, const Groups& groups, const py::object& ranges,
           const py::object& seeds, const py::object& histograms) {
  const auto limits = vector_argument<float>(ranges, "ranges", 2);
  const auto counts = vector_argument<std::uint32_t>(histograms, "histograms", 2);
  const RowsArgument rows(seeds, "seeds");
  require(limits.size() == 2 * groups.size() && counts.size() == kSeedBins * groups.size(),
          "ranges and histograms must have a row per group");
  require(rows.rows().n >= 1 && rows.rows().d == training.offsets().back(),
          "seeds must have all columns");
  std::vector<ValueRange> own;
  std::vector<std::vector<std::uint32_t>> bins;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    run_of(training, groups[i]);
    own.push_back({limits[2 * i], limits[2 * i + 1]});
    const auto first = counts.begin() + static_cast<std::ptrdiff_t>(i * kSeedBins);
    bins.emplace_back(first, first + kSeedBins);
  }
  unlocked([&] { training.start(groups, own, rows.rows(), bins); });
}

// What assigns rows to the centroids of some groups, and adds them up.
py::dict step(const CodebookTraining& training, const Groups& groups) {
  for (const std::uint32_t g : groups) run_of(training, g);
  const std::vector<Int16Codebook> books = unlocked([&] { return training.books(groups); });
  std::vector<float> scales(training.offsets().back(), 0.0f), units;
  std::vector<std::int16_t> words;
  std::vector<std::int32_t> norms;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    const std::uint32_t g = groups[i];
    std::fill(scales.begin() + static_cast<std::ptrdiff_t>(training.offsets()[g]),
              scales.begin() + static_cast<std::ptrdiff_t>(training.offsets()[g + 1]),
              books[i].scale());
    words.insert(words.end(), books[i].values().begin(), books[i].values().end());
    norms.insert(norms.end(), books[i].half_norms().begin(), books[i].half_norms().end());
    units.push_back(training.run(g).unit());
  }
  const KMeans& first = training.run(groups.front());
  py::dict dict;
  dict["row_step"] = first.row_step();
  dict["rows"] = first.rows();
  dict["scales"] = to_array(scales);
  dict["units"] = to_array(units);
  dict["words"] = to_array(words);
  dict["half_norms"] = to_array(norms);
  return dict;
}

// sums: of the groups, one behind the other; counts: 256 a group; squares: low and high of each.
Groups update(CodebookTraining& training, const Groups& groups, const py::object& sums,
              const py::object& counts, const py::object& squares) {
  const auto values = vector_argument<std::int64_t>(sums, "sums");
  const auto rows = vector_argument<std::uint32_t>(counts, "counts");
  const auto parts = vector_argument<std::uint64_t>(squares, "squares");
  std::vector<CentroidSums> all;
  std::size_t taken = 0;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    const std::size_t size = run_of(training, groups[i]).width() * kCentroids;
    require(taken + size <= values.size() && (i + 1) * kCentroids <= rows.size() &&
                2 * (i + 1) <= parts.size(),
            "sums, counts and squares must be those of all groups");
    const auto first = values.begin() + static_cast<std::ptrdiff_t>(taken);
    const auto count = rows.begin() + static_cast<std::ptrdiff_t>(i * kCentroids);
    all.push_back({{first, first + static_cast<std::ptrdiff_t>(size)},
                   {count, count + kCentroids},
                   parts[2 * i],
                   parts[2 * i + 1]});
    taken += size;
  }
  unlocked([&] { training.update(groups, std::move(all)); });
  Groups empty;
  for (const std::uint32_t g : groups) {
    if (training.run(g).has_empty()) empty.push_back(g);
  }
  return empty;
}

Array<std::uint32_t> worst_rows(const CodebookTraining& training, std::size_t group,
                                const py::object& errors) {
  return to_array(run_of(training, group).worst_rows(vector_argument<float>(errors, "errors")));
}

void repair(CodebookTraining& training, std::size_t group, const py::object& rows) {
  const auto values = vector_argument<float>(rows, "rows", 2);
  const KMeans& run = run_of(training, group);
  require(run.has_empty() && values.size() % run.width() == 0 &&
              values.size() / run.width() <= kCentroids,
          "rows must be those of `worst_rows`");
  training.repair(group, values);
}

py::tuple result(const CodebookTraining& training) {
  return py::make_tuple(array_of(training.result().books), array_of(training.result().cells));
}

PartitionTraining new_partition(std::size_t n, const py::object& mean, const py::object& centroids,
                                bool by_direction) {
  auto center = vector_argument<float>(mean, "mean");
  auto rows = vector_argument<float>(centroids, "centroids", 2);
  require(n >= 1 && !rows.empty() && rows.size() % center.size() == 0,
          "centroids must be rows of as many values as the mean");
  return {n, std::move(center), std::move(rows),
          by_direction ? AssignmentRule::direction : AssignmentRule::nearest};
}

std::vector<std::pair<std::uint32_t, std::uint32_t>> move(PartitionTraining& training,
                                                          const py::object& sums,
                                                          const py::object& counts,
                                                          const py::object& first) {
  const PartitionTraining::CellSums own{vector_argument<double>(sums, "sums"),
                                        vector_argument<std::uint32_t>(counts, "counts"),
                                        vector_argument<std::uint32_t>(first, "first")};
  const std::size_t cells = training.cells(), d = training.dim();
  require(own.sums.size() == cells * d && own.counts.size() == cells && own.first.size() == cells,
          "sums, counts and first must be those of all cells");
  std::vector<std::pair<std::uint32_t, std::uint32_t>> splits;
  for (const auto& split : training.move(own)) splits.emplace_back(split.cell, split.row);
  return splits;
}

void set(PartitionTraining& training, std::size_t cell, const py::object& row) {
  const auto values = vector_argument<float>(row, "row");
  require(cell < training.cells() && values.size() == training.dim(),
          "row must have as many values as the mean");
  training.set(cell, values.data());
}

}  // namespace

void bind_training(py::module_& m) {
  m.def("partition_seeds", &partition_seeds, py::arg("n"), py::arg("cells"), py::arg("seed"),
        "Return the numbers of the rows that the first centroids of `PartitionTraining` are.");
  m.attr("MOST_COMPARED_CELLS") = kFewCells;

  py::class_<CodebookTraining>(m, "CodebookTraining",
                               "k-means of the codebooks of all groups, whose rows a device has.")
      .def(py::init(&new_codebooks), py::arg("shapes"), py::arg("n"), py::arg("seed"),
           py::arg("iterations"))
      .def_property_readonly(
          "seed_step", [](const CodebookTraining& self) { return self.run(0).seed_step(); },
          "Seeds are chosen from every so many rows.")
      .def_static(
          "bin_width", [](float low, float high) { return KMeans::bin_width({low, high}); },
          py::arg("low"), py::arg("high"), "Return the width of the bins of a histogram.")
      .def("start", &start, py::arg("groups"), py::arg("ranges"), py::arg("seeds"),
           py::arg("histograms"), "Choose the seeds of some groups.")
      .def("next", &CodebookTraining::next, py::arg("groups"),
           "Return those of the groups that the next step is for; none when all are done.")
      .def("step", &step, py::arg("groups"),
           "Return what rows are assigned and added up with, by name.")
      .def("update", &update, py::arg("groups"), py::arg("sums"), py::arg("counts"),
           py::arg("squares"), "Move centroids; return the groups that need `repair`.")
      .def(
          "book",
          [](const CodebookTraining& self, std::size_t group) {
            return to_array(run_of(self, group).book());
          },
          py::arg("group"), "Return the centroids of a group, value by value.")
      .def("worst_rows", &worst_rows, py::arg("group"), py::arg("errors"),
           "Return the numbers of the rows that `repair` needs.")
      .def("repair", &repair, py::arg("group"), py::arg("rows"),
           "Move centroids without rows to some rows.")
      .def("result", &result, "Return the codebooks and the means of their cells.");

  py::class_<PartitionTraining>(m, "PartitionTraining",
                                "k-means of cells, whose rows a device has.")
      .def(py::init(&new_partition), py::arg("n"), py::arg("mean"), py::arg("centroids"),
           py::arg("by_direction"))
      .def_property_readonly("done", &PartitionTraining::done, "Whether the centroids stay.")
      .def_property_readonly("row_step", &PartitionTraining::row_step,
                             "The next step takes every so many rows.")
      .def_property_readonly(
          "centroids",
          [](const PartitionTraining& self) {
            auto rows = new_matrix<float>(self.cells(), self.dim());
            std::copy(self.centroids().begin(), self.centroids().end(), rows.mutable_data());
            return rows;
          },
          "float32 (cells, d).")
      .def(
          "tables", [](const PartitionTraining& self) { return assignment(self.partition()); },
          "Return what rows are assigned to cells with, by name.")
      .def("move", &move, py::arg("sums"), py::arg("counts"), py::arg("first"),
           "Move centroids; return the cells without rows and the rows that they must be set to.")
      .def("set", &set, py::arg("cell"), py::arg("row"), "Move a centroid to a row.");
  m.def(
      "partition_tables",
      [](const py::object& centroids, const py::object& mean, bool by_direction) {
        return assignment(Partition(
            vector_argument<float>(centroids, "centroids", 2), vector_argument<float>(mean, "mean"),
            by_direction ? AssignmentRule::direction : AssignmentRule::nearest));
      },
      py::arg("centroids"), py::arg("mean"), py::arg("by_direction"),
      "Return what rows are assigned to cells with, by name.");
}

}  // namespace waterfill
