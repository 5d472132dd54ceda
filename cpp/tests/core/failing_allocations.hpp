// Memory allocations that fail when a test asks for it. The program that links this file has them
// instead of its own.
#pragma once

#include <functional>
#include <new>

namespace waterfill {

// Lets the allocation with this number, from 0 on, fail; a negative number: none.
void fail_allocation(long number);

// Calls `act` with its first allocation failing, then its second, and so on, and `check` after each
// failure, until `act` succeeds. Returns the number of failures.
template <class Act, class Check>
long fail_each_allocation(Act act, Check check) {
  for (long failures = 0;; ++failures) {
    try {
      fail_allocation(failures);
      act();
      fail_allocation(-1);
      return failures;
    } catch (const std::bad_alloc&) {
      fail_allocation(-1);
      check();
    }
  }
}

}  // namespace waterfill
