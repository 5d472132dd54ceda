// core_check: tests of the parts of the core that Python does not see. Needs neither Python nor a
// test framework. Prints one line per part; at the first difference it prints a message and exits
// with 1. Arguments: the parts to run; without any, all of them.
#include "core_check.hpp"

#include <algorithm>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "dispatch.hpp"

namespace waterfill {
namespace {

void check_instruction_sets() {
  for (const std::string& isa : available_isas()) {
    select_isa(isa);
    check_refine_scores(isa.c_str());
    check_row_validation(isa.c_str());
    check_query_projection(isa.c_str());
  }
}

const std::pair<const char*, void (*)()> kParts[] = {
    {"transactions", check_transactions},
    {"folder_changes", check_folder_changes},
    {"concurrent_use", check_concurrent_use},
    {"elias_fano", check_elias_fano},
    {"reservoir", check_reservoir},
    {"refine_rows", check_refine_rows},
    {"limiter", check_limiter},
    {"constant_dimensions", check_constant_dimensions},
    {"instruction_sets", check_instruction_sets},
};

}  // namespace
}  // namespace waterfill

int main(int count, char** arguments) {
  const std::vector<std::string> chosen(arguments + 1, arguments + count);
  try {
    for (const auto& [name, check] : waterfill::kParts) {
      const bool runs = chosen.empty() || std::count(chosen.begin(), chosen.end(), name) > 0;
      if (runs) check();
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "core_check: %s\n", error.what());
    return 1;
  }
}
