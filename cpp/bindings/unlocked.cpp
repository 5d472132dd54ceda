#include "unlocked.hpp"

#include <pthread.h>
#include <pybind11/pybind11.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/syscall.h>
#endif
#ifdef __GLIBCXX__
#include <cxxabi.h>
#endif

#include <exception>

#include "waterfill/core/interruption.hpp"

namespace waterfill {
namespace {

namespace py = pybind11;

// Python runs handlers of signals on this thread only.
bool is_main_thread() {
#ifdef __linux__
  return ::syscall(SYS_gettid) == ::getpid();
#else
  return pthread_main_np() != 0;
#endif
}

// What a program has made of SIGINT.
struct InterruptHandler {
  py::object get, python_own;
  py::int_ number;

  InterruptHandler() {
    const py::module_ signal = py::module_::import("signal");
    get = signal.attr("getsignal");
    python_own = signal.attr("default_int_handler");
    number = signal.attr("SIGINT").cast<py::int_>();
  }
  bool raises_keyboard_interrupt() const { return get(number).is(python_own); }
};

// Takes a pending SIGINT that would raise KeyboardInterrupt. Runs no Python code of the program,
// which could call what the interrupted work has locked.
bool take_interrupt() {
  const PyGILState_STATE state = PyGILState_Ensure();
  bool taken = false;
  try {
    static const auto* handler = new InterruptHandler;  // never destroyed: Python may have ended
    taken = handler->raises_keyboard_interrupt() && PyOS_InterruptOccurred() != 0;
  } catch (const py::error_already_set&) {
    taken = false;  // without the signal module there is no handler
  }
  PyGILState_Release(state);
  return taken;
}

// When the interpreter ends, Python up to 3.13 ends its other threads where they take the GIL, by
// unwinding their stacks; destructors would then run without it. Such a thread sleeps until the
// process ends, as in Python 3.14.
void take_gil(PyThreadState* state) {
#ifdef __GLIBCXX__
  try {
    PyEval_RestoreThread(state);
  } catch (const abi::__forced_unwind&) {
    for (;;) ::pause();
  }
#else
  PyEval_RestoreThread(state);
#endif
}

}  // namespace

void run_unlocked(const std::function<void()>& work) {
  PyThreadState* const state = PyEval_SaveThread();
  std::exception_ptr error;
  bool interrupted = false;
  try {
    const InterruptionScope scope(is_main_thread() ? &take_interrupt : nullptr);
    work();
  } catch (const Interrupted&) {
    interrupted = true;
  } catch (...) {
    error = std::current_exception();
  }
  take_gil(state);
  if (interrupted) {
    PyErr_SetNone(PyExc_KeyboardInterrupt);
    throw py::error_already_set();
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace waterfill
