// What is stored of vectors, for Python.
#pragma once

#include <algorithm>
#include <string>
#include <utility>

#include "arrays.hpp"
#include "waterfill/index/index.hpp"

namespace waterfill {

// What is stored of vectors, for a call that finds them: codes, refine rows, or nothing.
class Contents {
 public:
  // kind: 'codes', 'rows' or ''. n: number of vectors. Where a call finds none, it leaves zeros.
  Contents(const Index& index, const std::string& kind, std::size_t n) {
    if (kind == "codes") {
      auto codes = new_matrix<std::uint8_t>(n, index.codec()->code_size());
      arrays_.codes = codes.mutable_data();
      std::fill_n(arrays_.codes, codes.size(), std::uint8_t{0});
      result_ = std::move(codes);
    } else if (kind == "rows") {
      auto rows = new_matrix<float>(n, index.codec()->d());
      arrays_.rows = rows.mutable_data();
      std::fill_n(arrays_.rows, rows.size(), 0.0f);
      result_ = std::move(rows);
    } else {
      require(kind.empty(), "contents must be 'codes', 'rows' or ''");
    }
  }
  const ContentArrays& arrays() const { return arrays_; }
  const py::object& result() const { return result_; }  // or None

 private:
  ContentArrays arrays_;
  py::object result_ = py::none();
};

}  // namespace waterfill
