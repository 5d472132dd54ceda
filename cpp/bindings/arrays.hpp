// Conversion between NumPy arrays and the types of the core.
//
// Python passes C-contiguous arrays of the required type (python/waterfill/data/rows.py makes the
// float32 blocks); anything else is a TypeError that names the argument.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>
#include <utility>
#include <vector>

#include "unlocked.hpp"
#include "waterfill/core/types.hpp"

namespace waterfill {

namespace py = pybind11;

template <class T>
using Array = py::array_t<T, py::array::c_style>;

inline std::string describe(const py::array& array) {
  py::tuple shape(array.ndim());  // the real one: a subclass may return another
  for (py::ssize_t i = 0; i < array.ndim(); ++i) {
    shape[static_cast<std::size_t>(i)] = array.shape(i);
  }
  return "dtype " + py::str(array.dtype()).cast<std::string>() + ", shape " +
         py::str(shape).cast<std::string>();
}

template <class T>
Array<T> checked(const py::handle& value, const char* name, py::ssize_t ndim,
                 const char* expected) {
  if (!py::isinstance<py::array>(value)) {
    throw py::type_error(std::string(name) + " must be a NumPy array (" + expected + "), got " +
                         py::str(py::type::of(value)).cast<std::string>());
  }
  const auto array = py::reinterpret_borrow<py::array>(value);
  // isinstance compares dtypes by value, byte order included.
  const bool aligned = (array.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_) != 0;
  if (!py::isinstance<Array<T>>(value) || !aligned || array.ndim() != ndim) {
    throw py::type_error(std::string(name) + " must be " + expected +
                         ", C-contiguous and aligned, got " + describe(array) +
                         (aligned ? "" : ", unaligned"));
  }
  return py::reinterpret_borrow<Array<T>>(value);
}

// A matrix of rows, kept alive by this object.
class RowsArgument {
 public:
  RowsArgument(const py::handle& value, const char* name)
      : array_(checked<float>(value, name, 2, "float32 (n, d)")) {}
  Rows rows() const {
    return {array_.data(), static_cast<std::size_t>(array_.shape(0)),
            static_cast<std::size_t>(array_.shape(1))};
  }

 private:
  Array<float> array_;
};

inline Array<std::uint8_t> codes_argument(const py::handle& value, std::size_t code_size) {
  auto codes = checked<std::uint8_t>(value, "codes", 2, "uint8 (n, code_size)");
  require(static_cast<std::size_t>(codes.shape(1)) == code_size,
          "codes have " + std::to_string(codes.shape(1)) + " bytes per vector, expected " +
              std::to_string(code_size));
  return codes;
}

template <class T>
std::vector<T> vector_argument(const py::handle& value, const char* name, py::ssize_t ndim = 1) {
  const auto array = checked<T>(value, name, ndim, ndim == 1 ? "one-dimensional" : "a matrix");
  return std::vector<T>(array.data(), array.data() + array.size());
}

template <class T>
Array<T> to_array(const std::vector<T>& values) {
  return Array<T>(static_cast<py::ssize_t>(values.size()), values.data());
}

template <class T>
Array<T> new_matrix(std::size_t rows, std::size_t columns) {
  return Array<T>({static_cast<py::ssize_t>(rows), static_cast<py::ssize_t>(columns)});
}

// Contiguous bytes of any object that exports them: bytes, a memory map.
class BytesArgument {
 public:
  explicit BytesArgument(const py::buffer& value) : info_(value.request()) {
    if (info_.ndim != 1 || info_.itemsize != 1 || (info_.size > 0 && info_.strides[0] != 1)) {
      throw py::type_error("data must be contiguous bytes");
    }
  }
  const void* data() const { return info_.ptr; }
  std::size_t size() const { return static_cast<std::size_t>(info_.size); }

 private:
  py::buffer_info info_;
};

// An array that holds the bytes of a string, without a copy.
inline Array<std::uint8_t> to_array(std::string&& bytes) {
  const py::capsule owner(new std::string(std::move(bytes)),
                          [](void* held) { delete static_cast<std::string*>(held); });
  auto* held = owner.get_pointer<std::string>();
  const auto size = static_cast<py::ssize_t>(held->size());
  return Array<std::uint8_t>(size, reinterpret_cast<std::uint8_t*>(held->data()), owner);
}

class Index;

void bind_runtime(py::module_& m);
void bind_analysis(py::module_& m);
void bind_plan(py::module_& m);
void bind_codec(py::module_& m);
void bind_training(py::module_& m);
void bind_index(py::module_& m);
void bind_search(py::class_<Index>& index);
void bind_device(py::module_& m, py::class_<Index>& index);
void bind_graph(py::module_& m);
void bind_folder(py::module_& m);
void bind_drift(py::module_& m);
void bind_serving(py::module_& m);

}  // namespace waterfill
