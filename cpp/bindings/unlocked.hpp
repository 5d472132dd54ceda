// Work of the core without the GIL: it lets other threads run, and Ctrl-C stops it.
#pragma once

#include <pybind11/pybind11.h>

#include <functional>
#include <optional>
#include <stdexcept>
#include <type_traits>
#include <utility>

namespace waterfill {

// Runs `work` without the GIL. It must not touch Python objects.
//
// On the main thread, Ctrl-C raises KeyboardInterrupt within a fraction of a second if the program
// keeps Python's own handler of SIGINT. Any other handler runs after the call, as always: it could
// use what the call has locked.
void run_unlocked(const std::function<void()>& work);

// The same, and about ten times a second calls `tell` with the work that has been counted, on this
// thread. What it raises stops the work and is raised. None: as above.
void run_unlocked(const std::function<void()>& work, const pybind11::object& tell);

// Called once, when the module is imported.
void find_interrupt_handler();

// The same for work with a result.
template <class Work, class... Tell>
auto unlocked(Work work, const Tell&... tell) {
  using Result = decltype(work());
  if constexpr (std::is_void_v<Result>) {
    run_unlocked([&] { work(); }, tell...);
  } else {
    std::optional<Result> result;
    run_unlocked([&] { result.emplace(work()); }, tell...);
    if (!result.has_value()) throw std::logic_error("the work was left out");
    return std::move(*result);
  }
}

}  // namespace waterfill
