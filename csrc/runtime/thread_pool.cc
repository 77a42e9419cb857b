#include "runtime/thread_pool.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <deque>
#include <exception>
#include <system_error>
#include <thread>

#include "runtime/floating_point.h"

namespace elmo_fast {
namespace {

// With a processor for each thread, the threads of a step arrive while the others spin. Without one, long spinning
// would burn the time slice of the very thread being waited for: 3 threads on 2 processors ran 100 times slower with
// 16,384 spins.
constexpr int kSpins = 256;
constexpr int kYields = 256;
constexpr int kIdleSpins = 1 << 12;

void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

void Meeting::arrive_and_wait(uint64_t goal) {
  // Sequentially consistent, like the count of sleepers: either the last to arrive sees a sleeper, or the sleeper sees
  // the last arrival.
  const uint64_t now = arrived_.fetch_add(1) + 1;
  if (now >= goal) {
    if (sleepers_.load() > 0) {
      std::lock_guard<std::mutex> lock(mutex_);
      complete_.notify_all();
    }
    return;
  }
  for (int i = 0; i < kSpins + kYields; ++i) {
    if (arrived_.load(std::memory_order_acquire) >= goal) return;
    if (i < kSpins)
      pause_briefly();
    else
      sched_yield();
  }
  std::unique_lock<std::mutex> lock(mutex_);
  ++sleepers_;
  complete_.wait(lock, [&] { return arrived_.load() >= goal; });
  --sleepers_;
}

// One job of one caller.
struct Job {
  const std::function<void(Team&)>* function;
  int size;
  uint64_t arrived;  // arrivals at the pool's meeting before the job
};

class ThreadPool {
 public:
  static ThreadPool& instance() {
    ThreadPool* pool = current_.load(std::memory_order_acquire);
    if (pool) return *pool;
    auto* fresh = new ThreadPool;  // never destroyed: its threads may outlive static destructors
    ThreadPool* none = nullptr;
    if (current_.compare_exchange_strong(none, fresh)) return *fresh;
    delete fresh;
    return *none;
  }

  // A forked child has none of its parent's threads, and inherits locks in whatever state they were: it drops the pool.
  static void forget() { current_.store(nullptr); }

  bool try_run(int max_threads, const std::function<void(Team&)>& function) {
    std::unique_lock<std::mutex> busy(busy_, std::try_to_lock);
    if (!busy.owns_lock()) return false;
    error_ = nullptr;
    const Job job{&function, 1 + grow(std::min(max_threads, kMostThreads) - 1), meeting_.arrived()};
    for (int rank = 1; rank < job.size; ++rank) workers_[static_cast<size_t>(rank - 1)].hand(job);
    work(job, 0);
    if (error_) std::rethrow_exception(error_);
    return true;
  }

 private:
  // One thread and the jobs handed to it. Only a team's members are woken.
  struct Worker {
    std::atomic<uint64_t> jobs{0};
    std::mutex mutex;
    std::condition_variable wake;
    Job job{};

    void hand(const Job& next) {
      {
        std::lock_guard<std::mutex> lock(mutex);
        job = next;
        jobs.fetch_add(1, std::memory_order_release);
      }
      wake.notify_one();
    }
  };

  // Starts threads until there are `wanted`; returns how many of them can serve.
  int grow(int wanted) {
    while (static_cast<int>(workers_.size()) < wanted) {
      workers_.emplace_back();
      try {
        std::thread(&ThreadPool::serve, this, &workers_.back(), static_cast<int>(workers_.size())).detach();
      } catch (const std::system_error&) {
        workers_.pop_back();
        break;  // the system has no more threads: run on those that exist
      }
    }
    return std::min(wanted, static_cast<int>(workers_.size()));
  }

  void serve(Worker* worker, int rank) {
    for (uint64_t seen = 0;; ++seen) {
      for (int i = 0; i < kIdleSpins && worker->jobs.load(std::memory_order_acquire) == seen; ++i) pause_briefly();
      Job job;
      {
        std::unique_lock<std::mutex> lock(worker->mutex);
        worker->wake.wait(lock, [&] { return worker->jobs.load(std::memory_order_relaxed) != seen; });
        job = worker->job;
      }
      work(job, rank);
    }
  }

  void work(const Job& job, int rank) {
    const DefaultFloatingPoint environment;
    Team team(rank, job.size, &meeting_, job.arrived);
    try {
      (*job.function)(team);
    } catch (...) {
      std::lock_guard<std::mutex> lock(error_mutex_);
      if (!error_) error_ = std::current_exception();
    }
    team.barrier();  // the caller returns when all have finished
  }

  static std::atomic<ThreadPool*> current_;

  std::mutex busy_;  // held by the caller whose job runs
  Meeting meeting_;
  std::deque<Worker> workers_;  // grows under busy_; its elements stay where they are
  std::mutex error_mutex_;
  std::exception_ptr error_;
};

std::atomic<ThreadPool*> ThreadPool::current_{nullptr};

namespace {
// Registered at load, not at the first job: a fork during a lazy registration would leave the child without it.
[[maybe_unused]] const int kForkHandler = pthread_atfork(nullptr, nullptr, &ThreadPool::forget);
}  // namespace

void run_job(int max_threads, const std::function<void(Team&)>& job) {
  if (max_threads > 1 && ThreadPool::instance().try_run(max_threads, job)) return;
  const DefaultFloatingPoint environment;
  Team alone(0, 1, nullptr, 0);
  job(alone);
}

}  // namespace elmo_fast
