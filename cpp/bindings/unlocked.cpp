#include "unlocked.hpp"

#include <pybind11/pybind11.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__APPLE__)
#include <pthread.h>
#endif

#include <exception>

#include "waterfill/core/interruption.hpp"
#include "waterfill/core/system.hpp"

namespace waterfill {
namespace {

namespace py = pybind11;

// Python runs handlers of signals on this thread only. The system knows it even in a child that
// another thread has forked; Windows has no forks, and Python names the thread.
unsigned long main_thread;

bool is_main_thread() {
#if defined(__linux__)
  return ::syscall(SYS_gettid) == ::getpid();
#elif defined(__APPLE__)
  return pthread_main_np() != 0;
#else
  return PyThread_get_thread_ident() == main_thread;
#endif
}

// What `signal` is made of: built-in functions, whose calls run no bytecode. Bytecode would run the
// handlers of pending signals, and these could use what the interrupted work has locked.
PyObject *get_handler, *default_handler, *interrupt;

// Takes a pending SIGINT that would raise KeyboardInterrupt.
bool take_interrupt() {
  const PyGILState_STATE state = PyGILState_Ensure();
  PyObject* handler = PyObject_CallOneArg(get_handler, interrupt);
  const bool taken = handler == default_handler && PyOS_InterruptOccurred() != 0;
  Py_XDECREF(handler);
  PyErr_Clear();
  PyGILState_Release(state);
  return taken;
}

bool pause_background() {
  return BackgroundWork::of_this_thread()->pause();
}

// How a call of this thread learns that it is to stop; null if nothing stops it.
bool (*poll_of_this_thread())() {
  if (is_main_thread()) return &take_interrupt;
  return BackgroundWork::of_this_thread() != nullptr ? &pause_background : nullptr;
}

// When the interpreter ends, Python up to 3.13 ends its other threads where they take the GIL, by
// unwinding their stacks; destructors would then run without it. Such a thread sleeps until the
// process ends, as in Python 3.14. Every C++ library catches that unwinding here, but only
// libstdc++ has a name for it; nothing else is thrown.
void take_gil(PyThreadState* state) {
  try {
    PyEval_RestoreThread(state);
  } catch (...) {
    sleep_for_ever();
  }
}

}  // namespace

void find_interrupt_handler() {  // the objects are kept for good
  const py::module_ signal = py::module_::import("_signal");
  get_handler = py::object(signal.attr("getsignal")).release().ptr();
  default_handler = py::object(signal.attr("default_int_handler")).release().ptr();
  interrupt = py::object(signal.attr("SIGINT")).release().ptr();
  const auto main = py::module_::import("threading").attr("main_thread")();
  main_thread = main.attr("ident").cast<unsigned long>();
}

namespace {

void run(const std::function<void()>& work, const TellWork* tell) {
  PyThreadState* const state = PyEval_SaveThread();
  std::exception_ptr error;
  bool interrupted = false;
  const InterruptionScope scope(poll_of_this_thread(), tell);
  try {
    work();
  } catch (const Interrupted&) {
    interrupted = true;
  } catch (...) {
    error = std::current_exception();
  }
  take_gil(state);
  // One that came too late to stop the call is not lost: Python raises it when the call is over.
  if (scope.requested() && !interrupted && is_main_thread()) PyErr_SetInterrupt();
  if (interrupted) {
    PyErr_SetNone(PyExc_KeyboardInterrupt);
    throw py::error_already_set();
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace

void run_unlocked(const std::function<void()>& work) {
  run(work, nullptr);
}

void run_unlocked(const std::function<void()>& work, const py::object& tell) {
  if (tell.is_none()) return run(work, nullptr);
  std::exception_ptr raised;  // by `tell`
  const TellWork told = [&](std::uint64_t done) {
    const py::gil_scoped_acquire locked;
    try {
      tell(done);
    } catch (const py::error_already_set&) {
      raised = std::current_exception();
    }
    return raised != nullptr;
  };
  try {
    run(work, &told);
  } catch (const py::error_already_set&) {  // an interruption, which is due to `raised` if that is
    if (!raised) throw;
  }
  if (raised) std::rethrow_exception(raised);
}

}  // namespace waterfill
