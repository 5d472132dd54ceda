// Errors, threads, instruction sets, and the checks that every stage makes.
#include <pybind11/stl.h>

#include <system_error>

#include "arrays.hpp"
#include "dispatch.hpp"
#include "kernels.hpp"
#include "waterfill/format.hpp"
#include "waterfill/parallel.hpp"

namespace waterfill {
namespace {

// OSError picks its own subclass (FileNotFoundError, PermissionError, ...) by the number.
void translate_system_error(std::exception_ptr error) {
  try {
    if (error) std::rethrow_exception(error);
  } catch (const FileError& e) {
    const auto path = py::reinterpret_steal<py::object>(
        PyUnicode_DecodeFSDefaultAndSize(e.path.data(), static_cast<py::ssize_t>(e.path.size())));
    const py::object value = py::reinterpret_borrow<py::object>(PyExc_OSError)(
        e.code().value(), std::string(e.what()), path);
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(value.ptr())), value.ptr());
  }
}

}  // namespace

void bind_runtime(py::module_& m) {
  auto format_error = py::register_exception<FormatError>(m, "FormatError", PyExc_ValueError);
  format_error.attr("__module__") = "waterfill";
  format_error.doc() = "A file or byte string is not what the waterfill format describes.";
  py::register_exception_translator(&translate_system_error);

  kernels();  // an unknown WATERFILL_ISA is an error at import, not at the first search
  num_threads();
  m.def("set_num_threads", &set_num_threads, py::arg("n"));
  m.def("get_num_threads", &num_threads);
  m.def("isa", [] { return std::string(kernels().isa); });
  m.def("available_isas", &available_isas);
  m.def("select_isa", &select_isa, py::arg("isa"));
  m.def("crc32c", [](const py::bytes& data) {
    const std::string_view view = data;
    return crc32c(view.data(), view.size());
  });

  m.def(
      "require_finite",
      [](const py::object& x, const char* argument, std::uint64_t first_row) {
        const RowsArgument rows(x, argument);
        unlocked([&] { require_finite(rows.rows(), argument, first_row); });
      },
      py::arg("x"), py::arg("argument"), py::arg("first_row"));
  m.def(
      "normalize_rows",
      [](const py::object& x) {
        const Rows rows = RowsArgument(x, "x").rows();
        auto result = new_matrix<float>(rows.n, rows.d);
        float* out = result.mutable_data();
        unlocked([&] {
          std::copy(rows.data, rows.data + rows.n * rows.d, out);
          normalize_rows(out, rows.n, rows.d);
        });
        return result;
      },
      py::arg("x"));
}

}  // namespace waterfill
