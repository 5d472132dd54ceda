// Stopping a long call: the user of a program presses Ctrl-C, or closes what a thread works for.
// And telling how far it is.
//
// The thread that makes a call opens a scope. Everything that works for the call, on this thread
// and on pool threads, asks `throw_if_interrupted` every few milliseconds, before it changes
// anything that its caller sees.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>

namespace waterfill {

struct Interrupted : std::exception {
  const char* what() const noexcept override { return "interrupted"; }
};

// Takes the work that is done; returns whether to stop.
using TellWork = std::function<bool(std::uint64_t done)>;

class InterruptionScope {
 public:
  // poll: whether to stop; called on this thread only, about ten times a second. Null: never.
  // tell: called as often, or null; it must outlive the scope.
  explicit InterruptionScope(bool (*poll)(), const TellWork* tell = nullptr);
  ~InterruptionScope();
  InterruptionScope(const InterruptionScope&) = delete;
  InterruptionScope& operator=(const InterruptionScope&) = delete;

  // Polls if it is time, and returns whether to stop.
  bool poll();
  bool requested() const { return requested_.load(std::memory_order_relaxed); }
  void count(std::uint64_t work) { done_.fetch_add(work, std::memory_order_relaxed); }

 private:
  bool (*poll_)();
  const TellWork* tell_;
  std::atomic<std::uint64_t> done_{0};
  std::chrono::steady_clock::time_point next_poll_;
  std::atomic<bool> requested_{false};
  InterruptionScope* outer_;
};

// What a thread does in the background: its calls pause, so that they take at most a share of its
// time, and any thread may stop them.
class BackgroundWork {
 public:
  // share: above 0, at most 1.
  explicit BackgroundWork(double share);
  // Calls of this thread belong to the work from now on, until `end`.
  void begin();
  static void end();
  static BackgroundWork* of_this_thread();
  void stop() { stopped_.store(true); }
  bool stopped() const { return stopped_.load(); }
  // Pauses as long as the share asks for; returns whether to stop. For the thread that began.
  bool pause();

 private:
  double share_;
  std::atomic<bool> stopped_{false};
  std::chrono::steady_clock::time_point resumed_;
};

// The innermost scope of the call that this thread works for, or null.
InterruptionScope* current_interruption();

// While it exists, this thread works for the call of another thread.
class WorkForCall {
 public:
  explicit WorkForCall(InterruptionScope* call);
  ~WorkForCall();
  WorkForCall(const WorkForCall&) = delete;
  WorkForCall& operator=(const WorkForCall&) = delete;
};

// Throws Interrupted if the call that this thread works for is to stop. Takes some nanoseconds.
void throw_if_interrupted();

// Counts work of the call that this thread works for, in units of the call's own.
void count_work(std::uint64_t work);

}  // namespace waterfill
