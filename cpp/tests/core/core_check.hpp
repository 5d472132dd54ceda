// Helpers and entry points of core_check. A check throws std::runtime_error at the first
// difference.
#pragma once

#include <cstdio>
#include <stdexcept>
#include <string>

namespace waterfill {

inline void expect(bool holds, const std::string& what) {
  if (!holds) throw std::runtime_error(what);
}

// Requires that `act` throws this type, and returns the message.
template <class Error, class Act>
std::string expect_throw(Act act, const char* what) {
  try {
    act();
  } catch (const Error& error) {
    return error.what();
  }
  throw std::runtime_error(std::string(what) + " was accepted");
}

void check_transactions();
void check_folder_changes();
void check_concurrent_use();
void check_elias_fano();
void check_reservoir();
void check_constant_dimensions();
void check_refine_rows();
void check_refine_scores(const char* isa);   // of the instruction set in use
void check_row_validation(const char* isa);  // likewise
void check_query_projection(const char* isa);
void check_limiter();

}  // namespace waterfill
