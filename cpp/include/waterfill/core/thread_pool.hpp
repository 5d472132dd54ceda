// parallel_for on a small pool of std::thread.
//
// OpenMP is not used: a second OpenMP runtime in one process clashes with those of FAISS and torch.
#pragma once

#include <cstddef>
#include <functional>

namespace waterfill {

// Runs task(0) ... task(count - 1) on the calling thread and on pool threads. Returns when all
// tasks have finished and rethrows the first exception. Tasks must not depend on their order.
void parallel_for(std::size_t count, const std::function<void(std::size_t)>& task);

// Threads that one call may use, including the calling thread. The default is
// WATERFILL_NUM_THREADS if it is set, else the number of hardware threads.
void set_num_threads(std::size_t n);
std::size_t num_threads();

// The same for calls of the calling thread alone, as for one of several threads that share the work
// themselves; 0: as many as other threads' calls.
void set_own_threads(std::size_t n);

}  // namespace waterfill
