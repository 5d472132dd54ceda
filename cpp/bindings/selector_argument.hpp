// A selector from the program that Python passes.
#pragma once

#include <cstdint>
#include <string>

#include "arrays.hpp"
#include "waterfill/index/selector.hpp"

namespace waterfill {

// Steps in postfix order: ('range', first, end), ('set', int64), ('bitmap', uint8), ('all',),
// ('not',), ('and',), ('or',), ('xor',).
inline Selector selector_argument(const py::object& program) {
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
      result.all();
    } else if (kind == "not") {
      result.logical_not();
    } else if (kind == "and") {
      result.logical_and();
    } else if (kind == "or") {
      result.logical_or();
    } else if (kind == "xor") {
      result.logical_xor();
    } else {
      throw InvalidArgument("sel: step '" + kind + "' does not exist");
    }
  }
  result.check();
  return result;
}

}  // namespace waterfill
