// Bindings of errors, threads, instruction sets, and the validation of rows.
#include <pybind11/stl.h>

#include <system_error>

#include "arrays.hpp"
#include "dispatch.hpp"
#include "kernels.hpp"
#include "waterfill/core/interruption.hpp"
#include "waterfill/core/row_validation.hpp"
#include "waterfill/core/thread_pool.hpp"
#include "waterfill/file/byte_io.hpp"

namespace waterfill {
namespace {

// OSError selects its subclass (FileNotFoundError, PermissionError, ...) by the error number.
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

// (flaws, squared norms, hashes or None), one value per row.
py::tuple inspected(const py::object& x, bool hashes) {
  const RowsArgument argument(x, "x");
  const Rows rows = argument.rows();
  const auto n = static_cast<py::ssize_t>(rows.n);
  Array<std::uint8_t> flaws(n);
  Array<double> squares(n);
  Array<std::uint64_t> own(hashes ? n : 0);
  std::uint8_t* const out = flaws.mutable_data();
  double* const norms = squares.mutable_data();
  std::uint64_t* const words = hashes ? own.mutable_data() : nullptr;
  unlocked([&] { inspect(rows, out, norms, words); });
  return py::make_tuple(flaws, squares, hashes ? py::object(own) : py::none());
}

void update_constant(ConstantDimensions& self, const py::object& x, const py::object& value) {
  const RowsArgument argument(x, "x");
  const Rows rows = argument.rows();
  const auto flaws = checked<std::uint8_t>(value, "flaws", 1, "uint8 (n,)");
  require(static_cast<std::size_t>(flaws.shape(0)) == rows.n,
          "flaws must have one value per row of x");
  unlocked([&] { self.update(rows, flaws.data()); });
}

bool unlocked_pause(BackgroundWork& self) {
  const py::gil_scoped_release released;
  return self.pause();
}

}  // namespace

void bind_runtime(py::module_& m) {
  // FAISS raises a RuntimeError for a file that it cannot read.
  const py::tuple bases =
      py::make_tuple(py::handle(PyExc_ValueError), py::handle(PyExc_RuntimeError));
  auto format_error = py::register_exception<FormatError>(m, "FormatError", bases);
  format_error.attr("__module__") = "waterfill";
  format_error.doc() = "A file or byte string is not what the waterfill format describes.";
  py::register_exception_translator(&translate_system_error);

  find_interrupt_handler();
  kernels();  // so that an invalid WATERFILL_ISA fails at import, not at the first search
  num_threads();
  m.def("set_num_threads", &set_num_threads, py::arg("n"),
        R"(Let calls use at most n threads, including the calling one.

Parameters
----------
n : int
    From 1 to 1024. At first it is the environment variable ``WATERFILL_NUM_THREADS``, or the
    number of cores.

Raises
------
ValueError
    If `n` is out of range.
TypeError
    If `n` is not an int of at least 0.)");
  m.def("get_num_threads", &num_threads, "Return how many threads a call may use.");
  m.def("set_own_threads", &set_own_threads, py::arg("n"),
        "Let calls of this thread use at most n threads; 0: as many as those of other threads.");
  py::class_<BackgroundWork>(
      m, "BackgroundWork",
      "What a thread does in the background, with a share of its time, until it is stopped.")
      .def(py::init<double>(), py::arg("share"))
      .def("begin", &BackgroundWork::begin,
           "Pause calls of this thread from now on, until `end`; those after `stop` raise "
           "KeyboardInterrupt.")
      .def(
          "end", [](BackgroundWork&) { BackgroundWork::end(); }, "Let calls of this thread run.")
      .def("stop", &BackgroundWork::stop, "Stop the calls, from any thread.")
      .def("pause", &unlocked_pause, "Pause as long as the share asks for; return whether to stop.")
      .def_property_readonly("stopped", &BackgroundWork::stopped, "Whether it has been stopped.");
  m.def("isa", [] { return std::string(kernels().isa); }, "Return the instruction set in use.");
  m.def("available_isas", &available_isas,
        "Return the instruction sets that this machine supports, the best last.");
  m.def("select_isa", &select_isa, py::arg("isa"), "Use an instruction set from now on.");
  m.def(
      "crc32c",
      [](const py::bytes& data) {
        const std::string_view view = data;
        return crc32c(view.data(), view.size());
      },
      py::arg("data"), "Return the CRC-32C checksum.");

  m.def(
      "require_finite",
      [](const py::object& x, const char* argument, std::uint64_t first_row) {
        const RowsArgument rows(x, argument);
        unlocked([&] { require_finite(rows.rows(), argument, first_row); });
      },
      py::arg("x"), py::arg("argument"), py::arg("first_row"),
      "Raise ValueError for a row with a NaN or an infinity, counted from first_row.");
  m.def(
      "first_nonfinite",
      [](const py::object& x) {
        const RowsArgument rows(x, "x");
        return unlocked([&] { return first_nonfinite_row(rows.rows()); });
      },
      py::arg("x"), "Return the first row with a NaN or an infinity, or the number of rows.");
  py::enum_<Flaw>(m, "Flaw", py::arithmetic(), "Defects of a row, as bits.")
      .value("nan", kNan)
      .value("infinite", kInfinite)
      .value("zero", kZero);
  m.def("inspect", &inspected, py::arg("x"), py::arg("hashes") = false,
        "Return flaws, squared norms and, if requested, hashes of rows.");
  py::class_<ConstantDimensions>(m, "ConstantDimensions",
                                 "Dimensions with one value in all rows so far.")
      .def(py::init<std::size_t>(), py::arg("d"))
      .def("update", &update_constant, py::arg("x"), py::arg("flaws"), "Add rows.")
      .def_property_readonly(
          "dimensions", [](const ConstantDimensions& self) { return to_array(self.dimensions()); },
          "Their numbers, ascending.");
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
      py::arg("x"), "Return the rows divided by their norms.");
}

}  // namespace waterfill
