// The locks of an object that a forked child may use.
//
// A child has only the thread that forked. Without care, a lock that another thread held at the
// fork stays locked for ever, and what it guards may be half-changed. Here a fork waits for running
// changes, and the child finds all locks free.
#pragma once

#include <mutex>
#include <shared_mutex>

namespace waterfill {

class ForkSafeLocks {
 public:
  ForkSafeLocks();
  ~ForkSafeLocks();
  ForkSafeLocks(const ForkSafeLocks&) = delete;
  ForkSafeLocks& operator=(const ForkSafeLocks&) = delete;

  std::shared_mutex state;
  std::mutex caches;  // taken after `state`

 private:
  friend class ForkRegistry;
  ForkSafeLocks *previous_ = nullptr, *next_ = nullptr;
};

}  // namespace waterfill
