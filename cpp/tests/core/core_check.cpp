// Do the parts of the core that no Python sees do what they promise? As kernel_check, it needs no
// test framework and no Python. One line per part; at the first difference a message and status 1.
#include "core_check.hpp"

#include <exception>

#include "dispatch.hpp"

int main() {
  try {
    waterfill::check_ascending();
    waterfill::check_exact_rows();
    waterfill::check_limiter();
    waterfill::check_constant_dimensions();
    for (const std::string& isa : waterfill::available_isas()) {
      waterfill::select_isa(isa);
      waterfill::check_exact_scores(isa.c_str());
      waterfill::check_inspect(isa.c_str());
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "core_check: %s\n", error.what());
    return 1;
  }
}
