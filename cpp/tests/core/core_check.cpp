// core_check: tests of the parts of the core that Python does not see. Needs neither Python nor a
// test framework. Prints one line per part; at the first difference it prints a message and exits
// with 1.
#include "core_check.hpp"

#include <exception>

#include "dispatch.hpp"

int main() {
  try {
    waterfill::check_transactions();
    waterfill::check_elias_fano();
    waterfill::check_refine_rows();
    waterfill::check_limiter();
    waterfill::check_constant_dimensions();
    for (const std::string& isa : waterfill::available_isas()) {
      waterfill::select_isa(isa);
      waterfill::check_refine_scores(isa.c_str());
      waterfill::check_row_validation(isa.c_str());
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "core_check: %s\n", error.what());
    return 1;
  }
}
