// The permit of an admitted request as a CPython type, and helpers for such types.
#pragma once

#include <memory>

#include "arrays.hpp"
#include "waterfill/serving/limiter.hpp"

namespace waterfill {

py::object make_permit_type();
// A permit for an admitted ticket, or null with a Python error.
PyObject* new_permit(const std::shared_ptr<Limiter>& limiter, const Ticket& ticket);

py::object new_type(PyType_Spec& spec);

template <class Function>
PyCFunction method(Function function) noexcept {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

}  // namespace waterfill
