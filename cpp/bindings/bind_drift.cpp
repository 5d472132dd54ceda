// Bindings of the block sums of a drift monitor.
#include <pybind11/stl.h>

#include "arrays.hpp"
#include "waterfill/drift/block_sums.hpp"

namespace waterfill {
namespace {

// Adds to `rows` and `sums`, one entry and one row per block.
py::tuple add(const BlockSums& self, const py::object& x, const py::object& blocks,
              const py::object& rows_value, const py::object& sums_value, bool errors) {
  const RowsArgument argument(x, "x");
  const Rows own = argument.rows();
  const auto numbers = vector_argument<std::uint32_t>(blocks, "blocks");
  auto rows = checked<float>(rows_value, "rows", 1, "float32 (b,)");
  auto sums = checked<float>(sums_value, "sums", 2, "float32 (b, features)");
  const auto count = static_cast<std::size_t>(rows.shape(0));
  require(static_cast<std::size_t>(sums.shape(0)) == count &&
              static_cast<std::size_t>(sums.shape(1)) == self.features(),
          "sums must have one row per block and one column per feature");
  require(numbers.size() == own.n, "blocks must have one value per row of x");
  for (const std::uint32_t number : numbers) {
    require(number < count, "blocks: block " + std::to_string(number) + " of " +
                                std::to_string(count) + " does not exist");
  };
  auto codes = new_matrix<std::uint8_t>(errors ? own.n : 0, self.code_size());
  std::vector<float> norms(own.n), outside(own.n);
  std::uint8_t* written = errors ? codes.mutable_data() : nullptr;
  float *row_sums = rows.mutable_data(), *feature_sums = sums.mutable_data();
  unlocked([&] {
    self.add(own, numbers.data(), row_sums, feature_sums, written, {norms.data(), outside.data()});
  });
  return py::make_tuple(to_array(norms), to_array(outside), codes);
}

}  // namespace

void bind_drift(py::module_& m) {
  py::class_<BlockSums>(m, "BlockSums", "Sums of features over blocks of rows.")
      .def(py::init([](std::shared_ptr<Codec> codec, const py::object& leading) {
             return BlockSums(std::move(codec), vector_argument<std::uint8_t>(leading, "leading"));
           }),
           py::arg("codec"), py::arg("leading"),
           "Sum with a codec; leading: flags of its leading eigenbasis dimensions.")
      .def_property_readonly("directions", &BlockSums::directions,
                             "Number of eigenbasis dimensions.")
      .def_property_readonly("features", &BlockSums::features, "Number of features.")
      .def("add", &add, py::arg("x"), py::arg("blocks"), py::arg("rows"), py::arg("sums"),
           py::arg("errors"),
           "Add rows to the sums of their blocks; return their norms, the energy outside the "
           "leading "
           "dimensions, and their codes.");
}

}  // namespace waterfill
