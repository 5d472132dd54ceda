// Which kernels this machine runs, and which are in use: the best, or the set that WATERFILL_ISA
// names when the library is first used. Apart from kernels.hpp because files that are compiled for
// one instruction set must not include standard headers with inline code.
#pragma once

#include <string>
#include <vector>

namespace waterfill {

// Uses the named set from now on. Throws InvalidArgument for a name that is unknown or a set that
// the machine (or its operating system) lacks; so does the first use, for WATERFILL_ISA.
void select_isa(const std::string& name);

// Names of the sets that this machine runs, the best last.
std::vector<std::string> available_isas();

}  // namespace waterfill
