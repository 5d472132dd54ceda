#include "waterfill/core/thread_pool.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "waterfill/core/interruption.hpp"
#include "waterfill/core/system.hpp"
#include "waterfill/core/types.hpp"

namespace waterfill {
namespace {

constexpr std::size_t kMaxThreads = 1024;
constexpr std::chrono::milliseconds kWait{50};  // between looks for an interruption

// Address space that threads leave for the work itself, where it is limited. A stack takes
// megabytes of it, and threads would start until none is left.
class Reserve {
 public:
  Reserve() : start_(reserve_pages(kSize)) {}
  ~Reserve() {
    if (is_there()) release_pages(start_, kSize);
  }
  Reserve(const Reserve&) = delete;
  Reserve& operator=(const Reserve&) = delete;
  bool is_there() const { return start_ != nullptr; }

 private:
  static constexpr std::size_t kSize = 32 * kHugePage;
  std::uint8_t* start_;
};

// One call of parallel_for. Threads take the next index until all are taken.
struct Job {
  Job(std::size_t n, const std::function<void(std::size_t)>& f)
      : count(n), task(f), interruption(current_interruption()) {}

  void work() {
    std::size_t finished = 0;
    for (std::size_t i; (i = next.fetch_add(1)) < count; ++finished) {
      try {
        throw_if_interrupted();
        task(i);
      } catch (...) {
        const std::lock_guard<std::mutex> lock(mutex);
        if (!error) error = std::current_exception();
      }
    }
    const std::lock_guard<std::mutex> lock(mutex);
    done += finished;
    if (done == count) all_done.notify_all();
  }

  // On an interruption it waits, too: the tasks refer to memory of the caller. They end soon.
  void wait() {
    std::unique_lock<std::mutex> lock(mutex);
    while (!all_done.wait_for(lock, kWait, [&] { return done == count; })) {
      if (interruption == nullptr) continue;
      lock.unlock();
      interruption->poll();
      lock.lock();
    }
  }

  const std::size_t count;
  const std::function<void(std::size_t)>& task;
  InterruptionScope* const interruption;  // of the caller
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::condition_variable all_done;
  std::size_t done = 0;
  std::exception_ptr error;
};

class Pool {
 public:
  // Offers the job to `helpers` pool threads and starts threads that do not exist yet. If the
  // system refuses one or has no memory, the job has fewer helpers, and the caller does the rest:
  // a job that is on offer must not be abandoned by an exception.
  void offer(const std::shared_ptr<Job>& job, std::size_t helpers) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      helpers = start(helpers);
      for (std::size_t i = 0; i < helpers && push(job); ++i) continue;
    }
    ready_.notify_all();
  }

 private:
  bool push(const std::shared_ptr<Job>& job) {
    try {
      jobs_.push_back(job);
    } catch (const std::bad_alloc&) {
      return false;
    }
    return true;
  }

  // Returns how many of n threads there are.
  std::size_t start(std::size_t n) {
    if (threads_.size() >= n) return n;
    const Reserve reserve;
    if (!reserve.is_there()) return threads_.size();
    try {
      threads_.reserve(n);
      while (threads_.size() < n) threads_.emplace_back([this] { loop(); });
    } catch (const std::system_error&) {
      return std::min(n, threads_.size());
    } catch (const std::bad_alloc&) {
      return std::min(n, threads_.size());
    }
    return n;
  }

  void loop() {
    for (;;) {
      std::shared_ptr<Job> job;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        ready_.wait(lock, [&] { return !jobs_.empty(); });
        job = std::move(jobs_.front());
        jobs_.pop_front();
      }
      // If all indices are taken, the caller may have returned. work() then takes no index and does
      // not touch what belongs to the caller.
      const WorkForCall call(job->interruption);
      job->work();
    }
  }

  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<std::shared_ptr<Job>> jobs_;
  std::vector<std::thread> threads_;
};

// Never destroyed: threads may outlive static destructors. After a fork the child drops the pool of
// the parent, whose threads it does not have.
std::atomic<Pool*> shared_pool{nullptr};
std::atomic<std::size_t> thread_limit{0};
thread_local std::size_t own_limit = 0;

Pool& pool() {
  Pool* current = shared_pool.load();
  if (current != nullptr) return *current;
  static const bool registered =
      (at_fork(nullptr, nullptr, [] { shared_pool.store(nullptr); }), true);
  (void)registered;
  auto fresh = std::make_unique<Pool>();
  if (shared_pool.compare_exchange_strong(current, fresh.get())) return *fresh.release();
  return *current;
}

std::size_t default_threads() {
  if (const char* text = std::getenv("WATERFILL_NUM_THREADS"); text != nullptr && *text != '\0') {
    char* end = nullptr;
    const unsigned long long n = std::strtoull(text, &end, 10);
    require(*end == '\0' && n >= 1 && n <= kMaxThreads,
            "WATERFILL_NUM_THREADS is '" + std::string(text) + "', expected a number from 1 to " +
                std::to_string(kMaxThreads));
    return static_cast<std::size_t>(n);
  }
  return std::max<std::size_t>(1, std::thread::hardware_concurrency());
}

}  // namespace

void parallel_for(std::size_t count, const std::function<void(std::size_t)>& task) {
  const std::size_t threads = std::min(num_threads(), count);
  if (threads <= 1) {
    for (std::size_t i = 0; i < count; ++i) {
      throw_if_interrupted();
      task(i);
    }
    return;
  }
  const auto job = std::make_shared<Job>(count, task);
  pool().offer(job, threads - 1);
  job->work();
  job->wait();
  if (job->error) std::rethrow_exception(job->error);
}

void set_num_threads(std::size_t n) {
  require(n >= 1 && n <= kMaxThreads,
          "n is " + std::to_string(n) + ", expected 1 to " + std::to_string(kMaxThreads));
  thread_limit.store(n);
}

void set_own_threads(std::size_t n) {
  own_limit = std::min(n, kMaxThreads);
}

std::size_t num_threads() {
  if (own_limit != 0) return own_limit;
  std::size_t n = thread_limit.load();
  if (n == 0) {
    n = default_threads();
    thread_limit.store(n);
  }
  return n;
}

}  // namespace waterfill
