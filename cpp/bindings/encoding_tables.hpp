// What bindings of encoding and of training have in common.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "arrays.hpp"
#include "waterfill/codec/codebooks.hpp"
#include "waterfill/codec/partition.hpp"

namespace waterfill {

template <class Values>
auto array_of(const Values& values) {
  return Array<typename Values::value_type>(static_cast<py::ssize_t>(values.size()), values.data());
}

// A rotation by a matrix in fixed point.
template <class Matrix>
void add_rotation(const Matrix& matrix, const float* scales, py::dict& dict) {
  dict["width"] = matrix.width();
  dict["stride"] = matrix.stride();
  dict["matrix"] = array_of(matrix.values());
  dict["units"] = to_array(matrix.units(scales));
}

// What rows are assigned to cells with; None without cells.
inline py::object assignment(const Partition& partition) {
  if (partition.empty()) return py::none();
  py::dict dict;
  add_rotation(partition.matrix(), partition.matrix_scales().data(), dict);
  dict["offsets"] = to_array(partition.matrix().offsets());
  dict["biases"] = to_array(partition.biases());
  dict["unit"] = partition.unit();
  return dict;
}

// Widths and kinds of groups.
inline std::vector<Shape> shapes_of(
    const std::vector<std::pair<std::uint32_t, std::string>>& shapes) {
  std::vector<Shape> result;
  result.reserve(shapes.size());
  for (const auto& [width, kind] : shapes) {
    result.push_back({width, kind == "binary" ? GroupKind::binary : GroupKind::vector});
  }
  return result;
}

}  // namespace waterfill
