// The gram kernel for any instruction set that adds a tile of four columns at a time. Only for the
// files of an instruction set: everything here has internal linkage.
#pragma once

#include "kernels.hpp"

namespace waterfill {
namespace {

// Kernels::gram with Tile::add<kRows>, which adds rows [i, i + kRows) and columns [j, j + 4).
template <class Tile>
void gram_by(const double* a, const double* b, std::size_t rows, std::size_t d, std::size_t first,
             std::size_t last, double* sums) {
  std::size_t i = first;
  for (; i + 4 <= last && i % 4 == 0; i += 4) {
    for (std::size_t j = i; j < d; j += 4) Tile::template add<4>(a, b, rows, d, i, j, sums);
  }
  for (; i < last; ++i) {
    for (std::size_t j = i / 4 * 4; j < d; j += 4) {
      Tile::template add<1>(a, b, rows, d, i, j, sums);
    }
  }
}

}  // namespace
}  // namespace waterfill
