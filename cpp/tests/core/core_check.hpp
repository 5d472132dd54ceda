// What the checks of the core's parts share. Each part throws std::runtime_error at the first
// difference.
#pragma once

#include <cstdio>
#include <stdexcept>
#include <string>

namespace waterfill {

inline void expect(bool holds, const std::string& what) {
  if (!holds) throw std::runtime_error(what);
}

// The exception that `act` throws must be of this type; returns its message.
template <class Error, class Act>
std::string expect_throw(Act act, const char* what) {
  try {
    act();
  } catch (const Error& error) {
    return error.what();
  }
  throw std::runtime_error(std::string(what) + " was accepted");
}

void check_ascending();
void check_constant_dimensions();
void check_exact_rows();
void check_exact_scores(const char* isa);  // of the instruction set in use
void check_inspect(const char* isa);       // likewise
void check_limiter();

}  // namespace waterfill
