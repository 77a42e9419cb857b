// One persistent pool of threads for the whole process.
//
// A job is one function called once on each of n threads, the caller being thread 0. Inside a job the threads meet at
// Team::barrier(). If the pool is busy with another caller's job, the job runs on the calling thread alone: results
// never depend on the number of threads, and two callers then share the machine without waiting for each other.
// After fork() the child starts a pool of its own at its first job.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <utility>

namespace elmo_fast {

// Barrier counters of the two halves of a team; lives as long as the job.
struct TeamSplit {
  std::atomic<uint64_t> arrived[2] = {{0}, {0}};
};

// What one thread of a job knows.
class Team {
 public:
  int rank() const { return rank_; }
  int size() const { return size_; }

  // Returns when all threads of the job have called it. Writes before it are seen by every thread after it.
  void barrier();

  // The lower or upper half of this team, whichever this thread is in; size() must be even.
  Team half(TeamSplit& split) const {
    const int n = size_ / 2;
    return Team(rank_ % n, n, &split.arrived[rank_ / n]);
  }

  // This thread's share of [0, n).
  std::pair<int64_t, int64_t> share(int64_t n) const { return {n * rank_ / size_, n * (rank_ + 1) / size_}; }

 private:
  friend class ThreadPool;
  friend void run_job(int, const std::function<void(Team&)>&);
  Team(int rank, int size, std::atomic<uint64_t>* arrived) : rank_(rank), size_(size), arrived_(arrived) {}

  int rank_;
  int size_;
  uint64_t passed_ = 0;  // barriers this thread has passed
  std::atomic<uint64_t>* arrived_;
};

// Runs job on up to max_threads threads and returns when all have finished. An exception thrown on any thread is
// rethrown here; a job with barriers must not throw between them.
// Every thread runs with the default floating-point environment (round to nearest, denormals kept) whatever the caller
// has set, because results must not depend on it.
void run_job(int max_threads, const std::function<void(Team&)>& job);

}  // namespace elmo_fast
