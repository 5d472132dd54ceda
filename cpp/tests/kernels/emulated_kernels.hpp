// The CUDA kernels over the emulation of the grid.
#pragma once

#include "kernels.hpp"

namespace waterfill {

// Those of the scalar kernels that a CUDA kernel has the task of are emulated: the rotations,
// `nearest` and `scan`.
const Kernels& emulated_kernels();

}  // namespace waterfill
