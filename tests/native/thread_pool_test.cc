// The pool: every thread runs, barriers order memory, callers do not block each other, fork and exceptions are safe.
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cfenv>
#include <numeric>
#include <stdexcept>
#include <thread>
#include <vector>

#include "runtime/thread_pool.h"

using namespace elmo_fast;

TEST_CASE("shares cover the range once") {
  for (const int64_t n : {0, 1, 5, 64, 1001}) {
    std::vector<int> seen(static_cast<size_t>(n));
    run_job(4, [&](Team& team) {
      const auto [begin, end] = team.share(n);
      for (int64_t i = begin; i < end; ++i) ++seen[static_cast<size_t>(i)];
    });
    CHECK(std::accumulate(seen.begin(), seen.end(), 0) == n);
  }
}

TEST_CASE("values written before a barrier are read after it") {
  std::vector<int64_t> values(4);
  std::atomic<int> wrong{0};
  run_job(4, [&](Team& team) {
    for (int64_t round = 1; round <= 500; ++round) {
      values[static_cast<size_t>(team.rank())] = round * 10 + team.rank();
      team.barrier();
      for (int r = 0; r < team.size(); ++r)
        if (values[static_cast<size_t>(r)] != round * 10 + r) ++wrong;
      team.barrier();
    }
  });
  CHECK(wrong == 0);
}

TEST_CASE("halves of a team have barriers of their own") {
  std::vector<int64_t> values(4);
  std::atomic<int> wrong{0};
  TeamSplit split;
  run_job(4, [&](Team& team) {
    if (team.size() % 2 != 0) return;
    const int base = team.rank() / (team.size() / 2) * (team.size() / 2);
    Team half = team.half(split);
    for (int64_t round = 1; round <= 300 + 50 * base; ++round) {  // the halves pass different numbers of barriers
      values[static_cast<size_t>(team.rank())] = round;
      half.barrier();
      for (int r = 0; r < half.size(); ++r)
        if (values[static_cast<size_t>(base + r)] != round) ++wrong;
      half.barrier();
    }
  });
  CHECK(wrong == 0);
}

TEST_CASE("concurrent callers all get their work done") {
  std::atomic<int> done{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i)
    callers.emplace_back([&] {
      for (int k = 0; k < 100; ++k) {
        std::atomic<int> ran{0};
        int size = 0;
        run_job(3, [&](Team& team) {
          ++ran;
          team.barrier();
          if (team.rank() == 0) size = team.size();
        });
        if (ran == size) ++done;
      }
    });
  for (std::thread& t : callers) t.join();
  CHECK(done == 400);
}

TEST_CASE("far more threads than processors still meet, without slowing small teams afterwards") {
  for (int size : {40, 2, 40, 3}) {
    std::atomic<int> ran{0};
    int64_t sum = 0;
    run_job(size, [&](Team& team) {
      for (int i = 0; i < 20; ++i) {
        if (team.rank() == i % team.size()) ++sum;  // ordered by the barriers alone
        team.barrier();
      }
      ++ran;
    });
    CHECK(ran == size);
    CHECK(sum == 20);
  }
}

TEST_CASE("an exception on any thread reaches the caller, and the pool goes on") {
  CHECK_THROWS_AS(run_job(2,
                          [](Team& team) {
                            if (team.rank() == team.size() - 1) throw std::runtime_error("x");
                          }),
                  std::runtime_error);
  std::atomic<int> ran{0};
  run_job(2, [&](Team&) { ++ran; });
  CHECK(ran == 2);
}

TEST_CASE("the caller's rounding mode does not affect the kernels, and is restored") {
  std::fesetround(FE_UPWARD);
  std::atomic<int> nearest{0};
  run_job(2, [&](Team&) { nearest += std::fegetround() == FE_TONEAREST; });
  CHECK(std::fegetround() == FE_UPWARD);
  std::fesetround(FE_TONEAREST);
  CHECK(nearest == 2);
}

namespace {
// Neither ThreadSanitizer nor qemu-user follows threads that a forked child of a threaded process starts.
#if defined(__SANITIZE_THREAD__) || defined(ELMO_FAST_USER_MODE_EMULATION)
constexpr bool kNoThreadsAfterFork = true;
#else
constexpr bool kNoThreadsAfterFork = false;
#endif
}  // namespace

TEST_CASE("a forked child has a pool of its own" * doctest::skip(kNoThreadsAfterFork)) {
  run_job(2, [](Team&) {});
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    std::atomic<int> ran{0};
    run_job(2, [&](Team& team) {
      team.barrier();
      ++ran;
    });
    _exit(ran == 2 ? 0 : 1);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}
