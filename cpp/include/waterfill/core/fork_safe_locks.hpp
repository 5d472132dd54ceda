// The locks of an object that a forked child may use.
//
// A child has only the thread that forked. Without care, a lock that another thread held at the
// fork stays locked for ever, and what it guards may be half-changed. Here a fork waits for running
// changes, and the child finds all locks free.
#pragma once

#include <mutex>
#include <shared_mutex>

namespace waterfill {

// A lock for readers or one writer. A waiting writer holds back new readers: std::shared_mutex of
// glibc lets them pass, so that a change would wait for ever where searches overlap all the time.
class FairSharedMutex {
 public:
  void lock() {
    const std::lock_guard<std::mutex> gate(gate_);
    state_.lock();
  }
  void unlock() { state_.unlock(); }
  void lock_shared() {
    const std::lock_guard<std::mutex> gate(gate_);
    state_.lock_shared();
  }
  void unlock_shared() { state_.unlock_shared(); }

 private:
  friend class ForkRegistry;
  std::mutex gate_;
  std::shared_mutex state_;
};

class ForkSafeLocks {
 public:
  ForkSafeLocks();
  ~ForkSafeLocks();
  ForkSafeLocks(const ForkSafeLocks&) = delete;
  ForkSafeLocks& operator=(const ForkSafeLocks&) = delete;

  FairSharedMutex state;
  std::mutex caches;  // taken after `state`

 private:
  friend class ForkRegistry;
  ForkSafeLocks *previous_ = nullptr, *next_ = nullptr;
};

}  // namespace waterfill
