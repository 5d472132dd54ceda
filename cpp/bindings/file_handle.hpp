// The file of the operating system behind a descriptor of Python.
#pragma once

#include <pybind11/pybind11.h>

#include "waterfill/file/byte_io.hpp"

namespace waterfill {

// On Windows descriptors belong to the C library that opened them, which need not be that of this
// module. Python says which HANDLE is behind one of its own.
inline FileHandle file_handle(int fd) {
#ifdef _WIN32
  const auto msvcrt = pybind11::module_::import("msvcrt");
  return pybind11::cast<FileHandle>(msvcrt.attr("get_osfhandle")(fd));
#else
  return fd;
#endif
}

}  // namespace waterfill
