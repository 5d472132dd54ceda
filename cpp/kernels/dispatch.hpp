// Run-time dispatch: the instruction sets that this machine supports, and the choice of one.
//
// The default is the best one, or the one that WATERFILL_ISA names when the library is first used.
// This is separate from kernels.hpp because files compiled for one instruction set must not include
// standard headers with inline code.
#pragma once

#include <string>
#include <vector>

namespace waterfill {

// Selects an instruction set. Throws InvalidArgument if the name is unknown or the machine (or its
// operating system) does not support the set. The first use of the library throws likewise for
// WATERFILL_ISA.
void select_isa(const std::string& name);

// Names of the supported sets, the best last.
std::vector<std::string> available_isas();

}  // namespace waterfill
