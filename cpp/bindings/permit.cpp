#include "permit.hpp"

#include <atomic>
#include <new>

namespace waterfill {
namespace {

// Owns the limiter of the core, not its Python object, so a permit is never part of a cycle.
struct PermitObject {
  PyObject head;
  std::shared_ptr<Limiter> limiter;
  Ticket ticket;
  std::atomic<bool> held;
};

PyTypeObject* permit_type;

PyObject* to_bool(bool value) {
  return PyBool_FromLong(value);
}

bool release(PermitObject* self, bool abandoned) {
  return self->held.exchange(false, std::memory_order_relaxed) &&
         self->limiter->release(self->ticket, abandoned);
}

void permit_dealloc(PyObject* object) {
  auto* self = reinterpret_cast<PermitObject*>(object);
  PyTypeObject* type = Py_TYPE(object);
  release(self, true);
  self->limiter.~shared_ptr();
  type->tp_free(object);
  Py_DECREF(type);
}

PyObject* permit_release(PyObject* object, PyObject*) {
  return to_bool(release(reinterpret_cast<PermitObject*>(object), false));
}

PyObject* permit_enter(PyObject* object, PyObject*) {
  if (!reinterpret_cast<PermitObject*>(object)->held) {
    PyErr_SetString(PyExc_RuntimeError, "the permit has been released: acquire another one");
    return nullptr;
  }
  return Py_NewRef(object);
}

PyObject* permit_exit(PyObject* object, PyObject* const*, Py_ssize_t) {
  release(reinterpret_cast<PermitObject*>(object), false);
  Py_RETURN_NONE;
}

PyObject* permit_held(PyObject* object, void*) {
  return to_bool(reinterpret_cast<PermitObject*>(object)->held);
}

PyObject* permit_cost(PyObject* object, void*) {
  return PyLong_FromLongLong(reinterpret_cast<PermitObject*>(object)->ticket.cost);
}

PyMethodDef permit_methods[] = {
    {"release", permit_release, METH_NOARGS,
     "release()\n--\n\nRelease the permit; return whether it was held."},
    {"__enter__", permit_enter, METH_NOARGS, nullptr},
    {"__exit__", method(permit_exit), METH_FASTCALL, nullptr},
    {}};
PyGetSetDef permit_attributes[] = {
    {"held", permit_held, nullptr, "Whether the permit has not been released.", nullptr},
    {"cost", permit_cost, nullptr, "The cost that it holds.", nullptr},
    {}};
PyType_Slot permit_slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(permit_dealloc)},
    {Py_tp_methods, permit_methods},
    {Py_tp_getset, permit_attributes},
    {Py_tp_doc, const_cast<char*>("The permit of an admitted request, until it is released.")},
    {}};
PyType_Spec permit_spec = {"waterfill._core.Permit", sizeof(PermitObject), 0,
                           Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, permit_slots};

}  // namespace

PyObject* new_permit(const std::shared_ptr<Limiter>& limiter, const Ticket& ticket) {
  PyObject* object = permit_type->tp_alloc(permit_type, 0);
  if (object == nullptr) {
    limiter->release(ticket, true);
    return nullptr;
  }
  auto* self = reinterpret_cast<PermitObject*>(object);
  new (&self->limiter) std::shared_ptr<Limiter>(limiter);
  self->ticket = ticket;
  new (&self->held) std::atomic<bool>(true);
  return object;
}

py::object new_type(PyType_Spec& spec) {
  PyObject* type = PyType_FromSpec(&spec);
  if (type == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(type);
}

py::object make_permit_type() {
  py::object type = new_type(permit_spec);
  permit_type =
      reinterpret_cast<PyTypeObject*>(py::object(type).release().ptr());  // never released
  return type;
}

}  // namespace waterfill
