#include "probe/probe.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <stdexcept>

#include "cpu/instruction_sets.h"
#include "probe/probe_tables.h"
#include "runtime/aligned_buffer.h"
#include "runtime/thread_pool.h"

namespace elmo_fast {
namespace {

constexpr int kRounds = 4;
constexpr int64_t kReadBlock = 16384;  // floats: 64 KB, about a panel of weights

struct Unit {
  const char* isa;  // the instruction set that it needs
  const ProbeTable* (*table)();
};

// The widest reader comes last.
constexpr Unit kUnits[] = {
#if defined(__x86_64__) && defined(ELMO_FAST_HAVE_AMX)
    {"amx", elmo_fast_probe_amx},
#endif
#if defined(__x86_64__) && defined(ELMO_FAST_HAVE_VNNI)
    {"avx512vnni", elmo_fast_probe_avx512vnni},
    {"avx2vnni", elmo_fast_probe_avx2vnni},
#endif
    {"generic", elmo_fast_probe_generic},
#if defined(__x86_64__)
    {"avx2", elmo_fast_probe_avx2},
    {"avx512", elmo_fast_probe_avx512},
#elif defined(__aarch64__)
    {"neon", elmo_fast_probe_neon},
#endif
};

std::vector<const ProbeTable*> tables() {
  const std::vector<std::string> available = isas_available();
  std::vector<const ProbeTable*> result;
  for (const Unit& unit : kUnits)
    if (std::find(available.begin(), available.end(), unit.isa) != available.end()) result.push_back(unit.table());
  return result;
}

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Times work(rank, passes) on all threads at once: doubles the passes until a round is long enough, then takes the best
// round. prepare(rank) runs first on each thread. Returns passes per second of one thread.
double passes_per_second(int num_threads, double seconds, const std::function<void(int)>& prepare,
                         const std::function<float(int, int64_t)>& work) {
  double best = 0.0;
  bool alone = false, finished = false;
  int64_t passes = 1;
  int rounds = 0;
  run_job(num_threads, [&](Team& team) {
    if (team.size() != num_threads) {
      alone = true;
      return;
    }
    prepare(team.rank());
    volatile float sink = work(team.rank(), 1);
    while (true) {
      team.barrier();
      const bool stop = finished;
      const int64_t n = passes;
      const double start = now();
      if (stop) break;
      sink = work(team.rank(), n);
      team.barrier();
      if (team.rank() != 0) continue;  // the others wait at the next barrier
      const double elapsed = now() - start;
      if (elapsed < seconds / kRounds / 2) {
        passes *= 2;
      } else {
        best = std::max(best, static_cast<double>(n) / elapsed);
        finished = ++rounds == kRounds;
      }
    }
    (void)sink;
  });
  if (alone) throw std::runtime_error("probe: the thread pool is busy with other calls");
  return best;
}

double probe_memory(int num_threads, double seconds, int64_t nbytes) {
  const int64_t blocks = nbytes / (kReadBlock * 4) / num_threads;
  if (blocks < 1)
    throw std::invalid_argument("nbytes: expected at least 64 KB a thread, got " + std::to_string(nbytes) + " for " +
                                std::to_string(num_threads) + " threads");
  const auto read = tables().back()->read;
  constexpr int64_t kSlack = 1024;  // prefetches run past the end
  std::vector<AlignedBuffer> buffers(static_cast<size_t>(num_threads));
  for (AlignedBuffer& buffer : buffers) buffer = AlignedBuffer(blocks * kReadBlock + kSlack);
  const auto fill = [&](int rank) {
    AlignedBuffer& buffer = buffers[static_cast<size_t>(rank)];
    for (int64_t i = 0; i < buffer.size(); ++i) buffer.data()[i] = static_cast<float>(i % 251) * 1e-3f;
  };
  const auto walk = [&](int rank, int64_t passes) {
    const float* data = buffers[static_cast<size_t>(rank)].data();
    float sum = 0.0f;
    for (int64_t pass = 0; pass < passes; ++pass)
      for (int64_t b = 0; b < blocks; ++b) sum += read(data + (pass % 2 ? blocks - 1 - b : b) * kReadBlock, kReadBlock);
    return sum;
  };
  const double bytes = static_cast<double>(blocks * kReadBlock * 4) * num_threads;
  return bytes * passes_per_second(num_threads, seconds, fill, walk);
}

}  // namespace

std::vector<std::string> probe_kinds() {
  std::vector<std::string> kinds{"read"};
  for (const ProbeTable* table : tables())
    for (const ProbeLoop& loop : table->loops)
      if (loop.kind) kinds.emplace_back(loop.kind);
  return kinds;
}

double probe(const std::string& kind, int num_threads, double seconds, int64_t nbytes) {
  if (num_threads < 1 || num_threads > kMostThreads)
    throw std::invalid_argument("num_threads: expected 1 to " + std::to_string(kMostThreads) + ", got " +
                                std::to_string(num_threads));
  if (!(seconds > 0.0 && seconds <= 10.0))
    throw std::invalid_argument("seconds: expected more than 0 and at most 10, got " + std::to_string(seconds));
  if (kind == "read") return probe_memory(num_threads, seconds, nbytes);
  for (const ProbeTable* table : tables()) {
    for (const ProbeLoop& loop : table->loops) {
      if (!loop.kind || kind != loop.kind) continue;
      const auto run = [&loop](int, int64_t passes) { return loop.run(passes * 1024); };
      const double passes = passes_per_second(num_threads, seconds, [](int) {}, run);
      return passes * 1024 * static_cast<double>(loop.operations) * num_threads;
    }
  }
  std::string known;
  for (const std::string& name : probe_kinds()) known += (known.empty() ? "" : ", ") + name;
  throw std::invalid_argument("kind: expected one of " + known + ", got '" + kind + "'");
}

}  // namespace elmo_fast
