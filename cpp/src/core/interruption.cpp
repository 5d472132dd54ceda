#include "waterfill/core/interruption.hpp"

namespace waterfill {
namespace {

constexpr std::chrono::milliseconds kPollInterval{100};

thread_local InterruptionScope* current = nullptr;
thread_local bool polls = false;  // whether this thread made the call

}  // namespace

InterruptionScope::InterruptionScope(bool (*poll)())
    : poll_(poll), next_poll_(std::chrono::steady_clock::now() + kPollInterval), outer_(current) {
  current = poll != nullptr ? this : nullptr;
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
    if (poll_()) requested_.store(true, std::memory_order_relaxed);
  }
  return requested();
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

}  // namespace waterfill
