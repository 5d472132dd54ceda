// Bindings of the limiter as a CPython type: a call through pybind11 would cost more than the
// limiter itself.
#include <pybind11/stl.h>

#include <cmath>
#include <limits>
#include <new>

#include "permit.hpp"

namespace waterfill {
namespace {

struct LimiterObject {
  PyObject head;
  std::shared_ptr<Limiter> limiter;  // null until __init__
  PyObject* priorities;              // tuple of str, one name per level
};

PyObject *priority_name, *deadline_name, *cost_name;  // interned

PyObject* to_bool(bool value) {
  return PyBool_FromLong(value);
}

// ---- arguments

struct Request {
  std::uint32_t level = 0;
  std::int64_t cost = 1;
  double deadline = std::numeric_limits<double>::infinity();
};

bool read_priority(const LimiterObject* self, PyObject* value, Request& request) {
  const auto levels = static_cast<std::uint32_t>(PyTuple_GET_SIZE(self->priorities));
  for (std::uint32_t i = 0; i < levels; ++i) {
    if (PyTuple_GET_ITEM(self->priorities, i) == value) return request.level = i, true;
  }
  if (!PyUnicode_Check(value)) {
    PyErr_Format(PyExc_TypeError, "priority must be a str, got %R", value);
    return false;
  }
  for (std::uint32_t i = 0; i < levels; ++i) {
    if (PyUnicode_Compare(PyTuple_GET_ITEM(self->priorities, i), value) == 0) {
      return request.level = i, true;
    }
  }
  PyErr_Format(PyExc_ValueError, "priority=%R must be one of %R", value, self->priorities);
  return false;
}

// An int of at least 1; values beyond int64 are clipped.
bool read_count(const char* name, PyObject* value, std::int64_t& count) {
  if (PyBool_Check(value) || !PyIndex_Check(value)) {
    PyErr_Format(PyExc_TypeError, "%s must be an int, got %R", name, value);
    return false;
  }
  count = PyNumber_AsSsize_t(value, nullptr);
  if (count == -1 && PyErr_Occurred()) return false;
  if (count >= 1) return true;
  PyErr_Format(PyExc_ValueError, "%s=%S must be at least 1", name, value);
  return false;
}

bool read_deadline(PyObject* value, Request& request) {
  if (value == Py_None) return true;
  const double deadline = PyBool_Check(value) ? -1 : PyFloat_AsDouble(value);
  if (PyBool_Check(value) || (deadline == -1 && PyErr_Occurred())) {
    if (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_TypeError)) return false;
    PyErr_Clear();
    PyErr_Format(PyExc_TypeError, "deadline must be a number of seconds or None, got %R", value);
    return false;
  }
  if (std::isnan(deadline)) {
    PyErr_SetString(PyExc_ValueError, "deadline=nan must be a number of seconds or None");
    return false;
  }
  // Minus infinity is a deadline that has passed.
  request.deadline = std::isinf(deadline) && deadline < 0 ? -1 : deadline;
  return true;
}

bool is(PyObject* key, PyObject* name) {
  return key == name || PyUnicode_Compare(key, name) == 0;
}

bool read(const LimiterObject* self, PyObject* const* args, Py_ssize_t given, PyObject* names,
          Request& request) {
  if (self->limiter == nullptr) {
    PyErr_SetString(PyExc_RuntimeError, "the limiter has not been initialized");
    return false;
  }
  if (given != 0) {
    PyErr_SetString(PyExc_TypeError,
                    "acquire takes only keyword arguments: priority, deadline, cost");
    return false;
  }
  const Py_ssize_t keywords = names == nullptr ? 0 : PyTuple_GET_SIZE(names);
  for (Py_ssize_t i = 0; i < keywords; ++i) {
    PyObject *key = PyTuple_GET_ITEM(names, i), *value = args[i];
    if (is(key, cost_name)) {
      if (!read_count("cost", value, request.cost)) return false;
    } else if (is(key, priority_name)) {
      if (!read_priority(self, value, request)) return false;
    } else if (is(key, deadline_name)) {
      if (!read_deadline(value, request)) return false;
    } else {
      PyErr_Format(PyExc_TypeError, "acquire got an unexpected keyword argument %R", key);
      return false;
    }
  }
  return true;
}

// ---- limiters

LimiterObject* as_limiter(PyObject* object) {
  return reinterpret_cast<LimiterObject*>(object);
}

PyObject* limiter_new(PyTypeObject* type, PyObject*, PyObject*) {
  PyObject* object = type->tp_alloc(type, 0);
  if (object == nullptr) return nullptr;
  new (&as_limiter(object)->limiter) std::shared_ptr<Limiter>();
  as_limiter(object)->priorities = nullptr;
  return object;
}

void limiter_dealloc(PyObject* object) {
  PyTypeObject* type = Py_TYPE(object);
  as_limiter(object)->limiter.~shared_ptr();
  Py_XDECREF(as_limiter(object)->priorities);
  type->tp_free(object);
  Py_DECREF(type);
}

// (floor, ceiling, target)
bool read_law(PyObject* bounds, Adaptation& law) {
  long long floor, ceiling;
  if (!PyTuple_Check(bounds)) {
    PyErr_Format(PyExc_TypeError, "the law must be a tuple or None, got %R", bounds);
    return false;
  }
  if (!PyArg_ParseTuple(bounds, "LLd", &floor, &ceiling, &law.target)) return false;
  law.floor = floor, law.ceiling = ceiling;
  if (1 <= floor && floor <= ceiling && law.target > 0) return true;
  PyErr_SetString(PyExc_ValueError, "the law must have a floor, a ceiling and a target above 0");
  return false;
}

// Arguments: (limit, priorities, shares, law or None), validated by Python.
int limiter_init(PyObject* object, PyObject* args, PyObject*) {
  LimiterObject* self = as_limiter(object);
  PyObject *limit, *priorities, *shares, *bounds = Py_None;
  if (!PyArg_ParseTuple(args, "OO!O!|O", &limit, &PyTuple_Type, &priorities, &PyTuple_Type, &shares,
                        &bounds)) {
    return -1;
  }
  Adaptation law;
  if (bounds != Py_None && !read_law(bounds, law)) return -1;
  std::int64_t most;
  if (!read_count("limit", limit, most)) return -1;
  std::vector<double> parts;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(shares); ++i) {
    parts.push_back(PyFloat_AsDouble(PyTuple_GET_ITEM(shares, i)));
    if (PyErr_Occurred()) return -1;
  }
  if (parts.empty() || PyTuple_GET_SIZE(priorities) != PyTuple_GET_SIZE(shares)) {
    PyErr_SetString(PyExc_ValueError, "shares must have one value per priority");
    return -1;
  }
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(priorities); ++i) {
    if (PyUnicode_Check(PyTuple_GET_ITEM(priorities, i))) continue;
    PyErr_SetString(PyExc_TypeError, "priorities must be str");
    return -1;
  }
  self->limiter = std::make_shared<Limiter>(most, parts, law);
  PyObject* former = self->priorities;
  self->priorities = Py_NewRef(priorities);
  Py_XDECREF(former);
  return 0;
}

// A permit, or null: without a Python error if `answer` is a refusal, else with one.
PyObject* admit(LimiterObject* self, const Request& request, Limiter::Answer& answer) {
  Ticket ticket;
  answer = self->limiter->admit(request.level, request.cost, request.deadline, ticket);
  return answer.refusal == Refusal::none ? new_permit(self->limiter, ticket) : nullptr;
}

PyObject* limiter_try_acquire(PyObject* object, PyObject* const* args, Py_ssize_t given,
                              PyObject* names) {
  LimiterObject* self = as_limiter(object);
  Request request;
  if (!read(self, args, given, names, request)) return nullptr;
  Limiter::Answer answer;
  PyObject* permit = admit(self, request, answer);
  if (answer.refusal != Refusal::none) Py_RETURN_NONE;
  return permit;
}

PyObject* seconds(double value) {
  return value < 0 ? Py_NewRef(Py_None) : PyFloat_FromDouble(value);
}

// Raises the exception that the method _refusal of the class returns.
void raise(PyObject* object, const Request& request, const Limiter::Answer& answer) {
  static const char* const reasons[] = {"", "capacity", "share", "deadline"};
  LimiterObject* self = as_limiter(object);
  PyObject* error =
      PyObject_CallMethod(object, "_refusal", "LNsO", static_cast<long long>(answer.in_use),
                          seconds(self->limiter->retry_after(request.level, request.cost, answer)),
                          reasons[static_cast<std::size_t>(answer.refusal)],
                          PyTuple_GET_ITEM(self->priorities, request.level));
  if (error == nullptr) return;
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error)), error);
  Py_DECREF(error);
}

PyObject* limiter_acquire(PyObject* object, PyObject* const* args, Py_ssize_t given,
                          PyObject* names) {
  LimiterObject* self = as_limiter(object);
  Request request;
  if (!read(self, args, given, names, request)) return nullptr;
  Limiter::Answer answer;
  PyObject* permit = admit(self, request, answer);
  if (answer.refusal != Refusal::none) raise(object, request, answer);
  return permit;
}

bool ready(PyObject* object) {
  if (as_limiter(object)->limiter != nullptr) return true;
  PyErr_SetString(PyExc_RuntimeError, "the limiter has not been initialized");
  return false;
}

PyObject* limiter_reset(PyObject* object, PyObject*) {
  if (!ready(object)) return nullptr;
  as_limiter(object)->limiter->reset();
  Py_RETURN_NONE;
}

// (median or None, total seconds, counts per bucket, [counts per level by outcome])
PyObject* limiter_counts(PyObject* object, PyObject*) {
  if (!ready(object)) return nullptr;
  const Limiter& limiter = *as_limiter(object)->limiter;
  const LatencyHistogram& latencies = limiter.latencies();
  try {
    const auto buckets = latencies.counts();
    py::list levels;
    for (std::size_t i = 0; i < limiter.levels(); ++i) {
      const Limiter::Counts c = limiter.counts(i);
      levels.append(
          py::make_tuple(c.admitted, c.capacity, c.share, c.deadline, c.released, c.abandoned));
    }
    const auto median = py::reinterpret_steal<py::object>(seconds(latencies.median()));
    return py::make_tuple(median, latencies.total(), buckets, levels).release().ptr();
  } catch (py::error_already_set& error) {
    error.restore();
    return nullptr;
  }
}

PyObject* limiter_limit(PyObject* object, void*) {
  return ready(object) ? PyLong_FromLongLong(as_limiter(object)->limiter->limit()) : nullptr;
}

int limiter_set_limit(PyObject* object, PyObject* value, void*) {
  if (value == nullptr) return PyErr_SetString(PyExc_AttributeError, "limit cannot be deleted"), -1;
  std::int64_t limit;
  if (!ready(object) || !read_count("limit", value, limit)) return -1;
  as_limiter(object)->limiter->set_limit(limit);
  return 0;
}

PyObject* limiter_in_use(PyObject* object, void*) {
  return ready(object) ? PyLong_FromLongLong(as_limiter(object)->limiter->in_use()) : nullptr;
}

// ---- types

PyMethodDef limiter_methods[] = {
    {"acquire", method(limiter_acquire), METH_FASTCALL | METH_KEYWORDS,
     "acquire(*, priority='default', deadline=None, cost=1)\n--\n\n"
     "Return a permit, or raise `AtCapacity`, at once."},
    {"try_acquire", method(limiter_try_acquire), METH_FASTCALL | METH_KEYWORDS,
     "try_acquire(*, priority='default', deadline=None, cost=1)\n--\n\n"
     "Return a permit, or None where `acquire` would raise `AtCapacity`."},
    {"_reset", limiter_reset, METH_NOARGS, "Clear permits and counts, in a forked child."},
    {"_counts", limiter_counts, METH_NOARGS, "Return latencies and counts per level."},
    {}};
PyGetSetDef limiter_attributes[] = {
    {"limit", limiter_limit, limiter_set_limit, "The largest cost that may be in use at once.",
     nullptr},
    {"in_use", limiter_in_use, nullptr, "The cost of all permits in use.", nullptr},
    {}};
PyType_Slot limiter_slots[] = {
    {Py_tp_new, reinterpret_cast<void*>(limiter_new)},
    {Py_tp_init, reinterpret_cast<void*>(limiter_init)},
    {Py_tp_dealloc, reinterpret_cast<void*>(limiter_dealloc)},
    {Py_tp_methods, limiter_methods},
    {Py_tp_getset, limiter_attributes},
    {Py_tp_doc, const_cast<char*>("The limiter of the core: limit, priorities, shares.")},
    {}};
PyType_Spec limiter_spec = {"waterfill._core.Limiter", sizeof(LimiterObject), 0,
                            Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, limiter_slots};

}  // namespace

void bind_serving(py::module_& m) {
  priority_name = PyUnicode_InternFromString("priority");
  deadline_name = PyUnicode_InternFromString("deadline");
  cost_name = PyUnicode_InternFromString("cost");
  m.attr("Limiter") = new_type(limiter_spec);
  m.attr("Permit") = make_permit_type();
}

}  // namespace waterfill
