// A small pool of std::thread. No OpenMP: a second runtime in one process clashes with those of
// FAISS and torch.
#pragma once

#include <cstddef>
#include <functional>

namespace waterfill {

// Runs task(0) ... task(count - 1), on the calling thread and the pool's. Returns when all have
// finished; rethrows the first exception. Tasks must not depend on the order in which they run.
void parallel_for(std::size_t count, const std::function<void(std::size_t)>& task);

// Threads that a call may use, the calling one included. At first WATERFILL_NUM_THREADS, or else
// the number of processors that this process may run on.
void set_num_threads(std::size_t n);
std::size_t num_threads();

}  // namespace waterfill
