#include "thread_pool.h"

#include <pthread.h>
#include <sched.h>

#include <cfenv>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace elmo_fast {
namespace {

// Time steps of a small model take microseconds: a thread waits this many turns before it gives its core away.
constexpr int kBarrierSpins = 1 << 14;
constexpr int kIdleSpins = 1 << 12;

void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

class DefaultFloatingPoint {
 public:
  DefaultFloatingPoint() {
    std::fegetenv(&saved_);
    std::fesetenv(FE_DFL_ENV);
  }
  ~DefaultFloatingPoint() { std::fesetenv(&saved_); }
  DefaultFloatingPoint(const DefaultFloatingPoint&) = delete;
  DefaultFloatingPoint& operator=(const DefaultFloatingPoint&) = delete;

 private:
  std::fenv_t saved_;
};

}  // namespace

void Team::barrier() {
  if (size_ == 1) return;
  const uint64_t goal = ++passed_ * static_cast<uint64_t>(size_);
  arrived_->fetch_add(1, std::memory_order_acq_rel);
  for (int spins = 0; arrived_->load(std::memory_order_acquire) < goal; ++spins) {
    if (spins < kBarrierSpins)
      pause_briefly();
    else
      sched_yield();
  }
}

class ThreadPool {
 public:
  static ThreadPool& instance() {
    ThreadPool* pool = current_.load(std::memory_order_acquire);
    if (pool) return *pool;
    static std::once_flag at_fork;
    // The threads of a forked child's pool do not exist, and its locks may be held for ever: forget it.
    std::call_once(at_fork, [] { pthread_atfork(nullptr, nullptr, [] { current_.store(nullptr); }); });
    auto* fresh = new ThreadPool;  // never destroyed: its threads may outlive static destructors
    ThreadPool* none = nullptr;
    if (current_.compare_exchange_strong(none, fresh)) return *fresh;
    delete fresh;
    return *none;
  }

  bool try_run(int max_threads, const std::function<void(Team&)>& job) {
    std::unique_lock<std::mutex> busy(busy_, std::try_to_lock);
    if (!busy.owns_lock()) return false;
    const int size = 1 + grow(max_threads - 1);
    arrived_.store(0, std::memory_order_relaxed);
    finished_.store(0, std::memory_order_relaxed);
    job_ = &job;
    size_ = size;
    error_ = nullptr;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      round_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    work(0);
    for (int spins = 0; finished_.load(std::memory_order_acquire) < threads_; ++spins) {
      if (spins < kBarrierSpins)
        pause_briefly();
      else
        sched_yield();
    }
    if (error_) std::rethrow_exception(error_);
    return true;
  }

 private:
  // Starts threads until there are `wanted`; returns how many of them can serve.
  int grow(int wanted) {
    while (threads_ < wanted) {
      try {
        std::thread(&ThreadPool::serve, this, threads_ + 1, round_.load(std::memory_order_relaxed)).detach();
      } catch (const std::system_error&) {
        break;  // the system has no more threads to give: run on those there are
      }
      ++threads_;
    }
    return wanted < threads_ ? (wanted < 0 ? 0 : wanted) : threads_;
  }

  void serve(int rank, uint64_t seen) {
    for (;;) {
      for (int spins = 0; spins < kIdleSpins && round_.load(std::memory_order_acquire) == seen; ++spins)
        pause_briefly();
      if (round_.load(std::memory_order_acquire) == seen) {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return round_.load(std::memory_order_acquire) != seen; });
      }
      ++seen;
      if (rank < size_) work(rank);
      finished_.fetch_add(1, std::memory_order_acq_rel);
    }
  }

  void work(int rank) {
    const DefaultFloatingPoint environment;
    Team team(rank, size_, &arrived_);
    try {
      (*job_)(team);
    } catch (...) {
      std::lock_guard<std::mutex> lock(mutex_);
      if (!error_) error_ = std::current_exception();
    }
  }

  static std::atomic<ThreadPool*> current_;

  std::mutex busy_;  // held by the caller whose job runs
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<uint64_t> round_{0};
  std::atomic<uint64_t> arrived_{0};
  std::atomic<int> finished_{0};
  int threads_ = 0;  // workers; written under busy_
  int size_ = 0;
  const std::function<void(Team&)>* job_ = nullptr;
  std::exception_ptr error_;
};

std::atomic<ThreadPool*> ThreadPool::current_{nullptr};

void run_job(int max_threads, const std::function<void(Team&)>& job) {
  if (max_threads > 1 && ThreadPool::instance().try_run(max_threads, job)) return;
  const DefaultFloatingPoint environment;
  std::atomic<uint64_t> unused{0};
  Team alone(0, 1, &unused);
  job(alone);
}

}  // namespace elmo_fast
