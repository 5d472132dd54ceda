// Permits, as a type of CPython's own, and what such types are made with.
#pragma once

#include <memory>

#include "arrays.hpp"
#include "waterfill/serving/limiter.hpp"

namespace waterfill {

py::object make_permit_type();
// A permit for what has been admitted, or null and an error.
PyObject* new_permit(const std::shared_ptr<Limiter>& limiter, const Ticket& ticket);

py::object new_type(PyType_Spec& spec);

template <class Function>
PyCFunction method(Function function) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

}  // namespace waterfill
