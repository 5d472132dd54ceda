#include "cuda_emulation.hpp"

#include <setjmp.h>
#include <ucontext.h>

#include <cstdio>
#include <deque>
#include <memory>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

dim3 gridDim, blockIdx, blockDim, threadIdx;

namespace emulation {
namespace {

constexpr std::size_t kStack = 128 * 1024;

// A fiber runs one thread after the other. Its context starts it once; jumps switch between fibers,
// without a system call.
struct Fiber {
  std::unique_ptr<char[]> stack{new char[kStack]};
  ucontext_t context;
  jmp_buf jump;
  bool started = false, done = true;
};

struct Barrier {
  unsigned members = 0, arrived = 0, generation = 0;

  void release_if_complete(bool& progress) {
    if (members == 0 || arrived < members) return;
    arrived = 0;
    ++generation;
    progress = true;
  }
};

std::deque<Fiber> fibers;  // which stay where they are
std::vector<Barrier> warps;
std::vector<std::uint64_t> slots;
std::vector<std::uint64_t> dynamic;
Barrier block;
jmp_buf scheduler;
unsigned current;
bool progress;
const std::function<void()>* body;

// AddressSanitizer must know which stack is in use.
#if defined(__SANITIZE_ADDRESS__)
const void* scheduler_stack;
std::size_t scheduler_size;
void leave_for_fiber(Fiber& fiber) {
  __sanitizer_start_switch_fiber(nullptr, fiber.stack.get(), kStack);
}
void leave_for_scheduler() {
  __sanitizer_start_switch_fiber(nullptr, scheduler_stack, scheduler_size);
}
void arrive_in_fiber() {
  __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack, &scheduler_size);
}
void arrive_in_scheduler() {
  __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
}
#else
void leave_for_fiber(Fiber&) {}
void leave_for_scheduler() {}
void arrive_in_fiber() {}
void arrive_in_scheduler() {}
#endif

void pause() {
  if (_setjmp(fibers[current].jump) == 0) {
    leave_for_scheduler();
    _longjmp(scheduler, 1);
  }
  arrive_in_fiber();
}

void wait(Barrier& barrier) {
  const unsigned generation = barrier.generation;
  ++barrier.arrived;
  barrier.release_if_complete(progress);
  while (barrier.generation == generation) pause();
}

// A thread that returns no longer takes part in barriers.
void leave(Barrier& barrier) {
  --barrier.members;
  barrier.release_if_complete(progress);
}

[[noreturn]] void start() {
  arrive_in_fiber();
  while (true) {
    (*body)();
    fibers[current].done = progress = true;
    leave(warps[current / kWarp]);
    leave(block);
    pause();  // until there is another thread
  }
}

void resume(unsigned thread) {
  Fiber& fiber = fibers[thread];
  current = thread;
  threadIdx = {thread, 0, 0};
  if (_setjmp(scheduler) != 0) return arrive_in_scheduler();
  leave_for_fiber(fiber);
  if (fiber.started) _longjmp(fiber.jump, 1);
  fiber.started = true;
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.get();
  fiber.context.uc_stack.ss_size = kStack;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, start, 0);
  setcontext(&fiber.context);
}

void run_block(unsigned threads) {
  block = {threads, 0, 0};
  warps.assign((threads + kWarp - 1) / kWarp, {});
  for (unsigned t = 0; t < threads; ++t) {
    ++warps[t / kWarp].members;
    fibers[t].done = false;
  }
  for (bool running = true; running;) {
    running = progress = false;
    for (unsigned t = 0; t < threads; ++t) {
      if (!fibers[t].done) resume(t);
      running = running || !fibers[t].done;
    }
    if (running && !progress) {
      std::fputs("emulation: threads wait for others that do not come\n", stderr);
      std::abort();
    }
  }
}

}  // namespace

void run(dim3 grid, unsigned threads, std::size_t shared, const std::function<void()>& thread) {
  if (fibers.size() < threads) fibers.resize(threads);
  slots.assign((threads + kWarp - 1) / kWarp * kWarp, 0);
  dynamic.assign((shared + 7) / 8, 0xabababababababab);
  body = &thread;
  gridDim = grid;
  blockDim = {threads, 1, 1};
  for (blockIdx.y = 0; blockIdx.y < grid.y; ++blockIdx.y) {
    for (blockIdx.x = 0; blockIdx.x < grid.x; ++blockIdx.x) run_block(threads);
  }
}

void wait_for_block() {
  wait(block);
}
void wait_for_warp() {
  wait(warps[threadIdx.x / kWarp]);
}
void* dynamic_memory() {
  return dynamic.data();
}
std::uint64_t* warp_slots() {
  return slots.data() + threadIdx.x / kWarp * kWarp;
}

}  // namespace emulation
