// One persistent pool of threads for the whole process.
//
// A job is one function called once on each of n threads, the caller being thread 0. Inside a job the threads meet at
// Team::barrier(). If the pool is busy with another caller's job, the job runs on the calling thread alone: results
// never depend on the number of threads, and two callers then share the machine without waiting for each other.
// After fork() the child starts a pool of its own at its first job.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <utility>

namespace elmo_fast {

// Counts arrivals. A waiter spins briefly, because time steps of a small model take microseconds; then it yields, then
// sleeps, so that having more threads than free processors slows a job down but does not stop it.
class Meeting {
 public:
  uint64_t arrived() const { return arrived_.load(std::memory_order_acquire); }
  // Adds one arrival and returns when there are `goal` in all. Writes before the arrivals are seen after it.
  void arrive_and_wait(uint64_t goal);

 private:
  std::atomic<uint64_t> arrived_{0};
  std::atomic<int> sleepers_{0};
  std::mutex mutex_;
  std::condition_variable complete_;
};

// The meeting points of the two halves of a team; must outlive the job.
struct TeamSplit {
  Meeting halves[2];
};

// One thread's view of a job.
class Team {
 public:
  // arrived: arrivals at the meeting before this team's first; meeting may be null for a team of one.
  Team(int rank, int size, Meeting* meeting, uint64_t arrived)
      : rank_(rank), size_(size), meeting_(meeting), goal_(arrived) {}

  int rank() const { return rank_; }
  int size() const { return size_; }

  // Returns when all threads of the job have called it. Writes before it are seen by every thread after it.
  void barrier() {
    if (size_ > 1) meeting_->arrive_and_wait(goal_ += static_cast<uint64_t>(size_));
  }

  // The half of this team that this thread belongs to; size() must be even. Call it at most once per job.
  Team half(TeamSplit& split) const {
    const int n = size_ / 2;
    return Team(rank_ % n, n, &split.halves[rank_ / n], 0);
  }

  // This thread's share of [0, n).
  std::pair<int64_t, int64_t> share(int64_t n) const { return {n * rank_ / size_, n * (rank_ + 1) / size_}; }

 private:
  int rank_;
  int size_;
  Meeting* meeting_;
  uint64_t goal_;  // arrivals at the last barrier that was passed
};

// Runs job on up to max_threads (at most kMostThreads) threads and returns when all have finished. An exception thrown
// on any thread is rethrown here; a job with barriers must not throw before its last one.
// Every thread runs with the default floating-point environment (see floating_point.h), whatever the caller has set.
constexpr int kMostThreads = 256;
void run_job(int max_threads, const std::function<void(Team&)>& job);

}  // namespace elmo_fast
