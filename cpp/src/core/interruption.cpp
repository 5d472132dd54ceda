#include "waterfill/core/interruption.hpp"

#include <algorithm>
#include <thread>

#include "waterfill/core/types.hpp"

namespace waterfill {
namespace {

constexpr std::chrono::milliseconds kPollInterval{100};

thread_local InterruptionScope* current = nullptr;
thread_local bool polls = false;  // whether this thread made the call
thread_local BackgroundWork* background = nullptr;

}  // namespace

InterruptionScope::InterruptionScope(bool (*poll)(), const TellWork* tell)
    : poll_(poll),
      tell_(tell),
      next_poll_(std::chrono::steady_clock::now() + kPollInterval),
      outer_(current) {
  current = poll != nullptr || tell != nullptr ? this : nullptr;
  polls = current != nullptr;
}

InterruptionScope::~InterruptionScope() {
  current = outer_;
  polls = current != nullptr;
}

bool InterruptionScope::poll() {
  const auto now = std::chrono::steady_clock::now();
  if (now >= next_poll_ && !requested()) {
    next_poll_ = now + kPollInterval;
    const bool stop = (poll_ != nullptr && poll_()) || (tell_ != nullptr && (*tell_)(done_));
    if (stop) requested_.store(true, std::memory_order_relaxed);
  }
  return requested();
}

BackgroundWork::BackgroundWork(double share) : share_(share) {
  require(share > 0 && share <= 1, "share must be above 0 and at most 1");
}

void BackgroundWork::begin() {
  background = this;
  resumed_ = std::chrono::steady_clock::now();
}

void BackgroundWork::end() {
  background = nullptr;
}

BackgroundWork* BackgroundWork::of_this_thread() {
  return background;
}

bool BackgroundWork::pause() {
  constexpr std::chrono::milliseconds kSlice{20};  // between looks for `stop`
  const auto busy = std::chrono::steady_clock::now() - resumed_;
  const auto until = resumed_ + std::chrono::duration_cast<std::chrono::nanoseconds>(busy / share_);
  for (auto now = resumed_ + busy; now < until && !stopped();) {
    std::this_thread::sleep_for(std::min<std::chrono::nanoseconds>(until - now, kSlice));
    now = std::chrono::steady_clock::now();
  }
  resumed_ = std::chrono::steady_clock::now();
  return stopped();
}

InterruptionScope* current_interruption() {
  return current;
}

WorkForCall::WorkForCall(InterruptionScope* call) {
  current = call;
}

WorkForCall::~WorkForCall() {
  current = nullptr;
}

void throw_if_interrupted() {
  if (current == nullptr) return;
  if (polls ? current->poll() : current->requested()) throw Interrupted();
}

void count_work(std::uint64_t work) {
  if (current != nullptr) current->count(work);
}

}  // namespace waterfill
