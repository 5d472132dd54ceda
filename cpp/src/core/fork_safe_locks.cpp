#include "waterfill/core/fork_safe_locks.hpp"

#include <new>

#include "waterfill/core/system.hpp"

namespace waterfill {

// All locks there are, in a list whose nodes are the locks themselves: joining it cannot fail.
class ForkRegistry {
 public:
  static ForkRegistry& instance() {
    static ForkRegistry& registry = *new ForkRegistry;  // objects may outlive static destructors
    return registry;
  }

  void add(ForkSafeLocks& locks) {
    const std::lock_guard<std::mutex> lock(mutex_);
    locks.next_ = first_;
    if (first_ != nullptr) first_->previous_ = &locks;
    first_ = &locks;
  }

  void remove(ForkSafeLocks& locks) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (locks.next_ != nullptr) locks.next_->previous_ = locks.previous_;
    (locks.previous_ != nullptr ? locks.previous_->next_ : first_) = locks.next_;
  }

 private:
  ForkRegistry() {
    at_fork([] { instance().before(); }, [] { instance().in_parent(); },
            [] { instance().in_child(); });
  }

  // Waits for changes, but not for searches, which change caches only, nor for writers that wait
  // for searches: a search on the main thread may wait for the GIL, which this thread holds.
  void before() {
    mutex_.lock();
    for (ForkSafeLocks* locks = first_; locks != nullptr; locks = locks->next_) {
      locks->state.state_.lock_shared();
      locks->caches.lock();
    }
  }

  void in_parent() {
    for (ForkSafeLocks* locks = first_; locks != nullptr; locks = locks->next_) {
      locks->caches.unlock();
      locks->state.unlock_shared();
    }
    mutex_.unlock();
  }

  // Threads that searched at the fork do not exist here, so nobody would unlock for them.
  void in_child() {
    for (ForkSafeLocks* locks = first_; locks != nullptr; locks = locks->next_) {
      new (&locks->state) FairSharedMutex;
      new (&locks->caches) std::mutex;
    }
    new (&mutex_) std::mutex;
  }

  std::mutex mutex_;
  ForkSafeLocks* first_ = nullptr;
};

ForkSafeLocks::ForkSafeLocks() {
  ForkRegistry::instance().add(*this);
}

ForkSafeLocks::~ForkSafeLocks() {
  ForkRegistry::instance().remove(*this);
}

}  // namespace waterfill
