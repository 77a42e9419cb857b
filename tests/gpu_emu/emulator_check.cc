// Checks that the emulator finds bugs: small kernels with one planted bug each, and the same kernels without it.
//
//   emulator_check            the bugs that the emulator itself must report, in every build
//   emulator_check NAME       one bug for a sanitizer: must end with its report
//   emulator_check --list     the names, each followed by the build that must find it
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#include "cuda/gpu.cuh"

namespace {

using namespace elmo_fast::gpu;

constexpr int kThreads = 64;

struct Params {
  float* out;
  bool bug;
};

// Each thread reads what another wrote into shared memory.
void missing_barrier(Params p) {
  GPU_SHARED(float, values, kThreads);
  values[thread()] = static_cast<float>(thread());
  if (!p.bug) block_barrier();
  p.out[thread()] = values[(thread() + 1) % kThreads];
}

// A value that is read at the end of a loop's body is overwritten at the beginning of the next iteration.
void missing_reuse_barrier(Params p) {
  GPU_SHARED(float, value, 1);
  for (int i = 0; i < 3; ++i) {
    if (thread() == 0) value[0] = static_cast<float>(i);
    block_barrier();
    p.out[thread()] = value[0];
    if (!p.bug) block_barrier();
  }
}

// Two blocks write one place.
void race_of_blocks(Params p) { p.out[p.bug ? thread() : block_x() * kThreads + thread()] = 1.0f; }

// Blocks read what others wrote before a grid barrier.
void missing_grid_barrier(Params p) {
  const int i = block_x() * kThreads + thread();
  p.out[i] = static_cast<float>(i);
  if (!p.bug) grid_barrier();
  p.out[2 * kThreads + i] = p.out[(i + kThreads) % (2 * kThreads)];
}

// A shuffle is no barrier.
void shuffle_for_barrier(Params p) {
  GPU_SHARED(float, values, kThreads);
  values[thread()] = 1.0f;
  if (p.bug)
    shuffle_xor(0.0f, 1);
  else
    block_barrier();
  p.out[thread()] = values[thread() ^ 1];
}

void shared_overrun(Params p) {
  GPU_SHARED(float, values, kThreads);
  values[thread()] = 1.0f;
  block_barrier();
  p.out[thread()] = values[p.bug ? thread() + 1 : thread()];
}

void misaligned(Params p) {
  const Floats4 four = *reinterpret_cast<const Floats4*>(p.out + (p.bug ? 1 : 4));
  block_barrier();
  p.out[thread()] = four.x;
}

void uninitialised(Params p) {
  GPU_SHARED(float, values, kThreads);
  if (thread() > 0 || !p.bug) values[thread()] = 1.0f;
  block_barrier();
  p.out[thread()] = values[thread()];
}

void divergent_barrier(Params p) {
  if (!p.bug || thread() != 3) block_barrier();
  p.out[thread()] = 1.0f;
}

void divergent_shuffle(Params p) {
  float x = 1.0f;
  if (!p.bug || thread() < 16) x = shuffle_xor(x, 1);
  p.out[thread()] = x;
}

void other_barriers(Params p) {  // some wait for a block, some for a grid
  if (p.bug && thread() == 0)
    grid_barrier();
  else
    block_barrier();
  p.out[block_x() * kThreads + thread()] = 1.0f;
}

void dynamic_overrun(Params p) {
  GPU_DYNAMIC_SHARED(shared);
  float* values = piece<float>(shared, 0, p.bug ? 2 * kThreads : kThreads);
  values[thread()] = 1.0f;
  block_barrier();
  p.out[thread()] = values[thread()];
}

struct Bug {
  const char* name;
  void (*kernel)(Params);
  const char* seen_by;  // "thread", "address", or "all": the emulator itself, or the result
  bool cooperative = false;
};

const Bug kBugs[] = {
    {"missing_barrier", missing_barrier, "thread"},
    {"missing_reuse_barrier", missing_reuse_barrier, "thread"},
    {"race_of_blocks", race_of_blocks, "thread"},
    {"missing_grid_barrier", missing_grid_barrier, "thread", true},
    {"shuffle_for_barrier", shuffle_for_barrier, "thread"},
    {"shared_overrun", shared_overrun, "address"},
    {"misaligned", misaligned, "address"},
    {"uninitialised", uninitialised, "all"},
    {"divergent_barrier", divergent_barrier, "all"},
    {"divergent_shuffle", divergent_shuffle, "all"},
    {"other_barriers", other_barriers, "all", true},
    {"dynamic_overrun", dynamic_overrun, "all"},
};

// Returns what was seen, or nothing.
std::string run(const Bug& bug, bool planted) {
  const auto out = std::make_unique<float[]>(4 * kThreads);
  LaunchConfig config;
  config.grid_x = 2;
  config.block = kThreads;
  config.shared_bytes = kThreads * sizeof(float);
  config.cooperative = bug.cooperative;
  if (bug.seen_by == std::string("all") && !bug.cooperative) config.grid_x = 1;
  // Blocks but those of the race write the same places otherwise.
  if (!bug.cooperative && bug.kernel != race_of_blocks) config.grid_x = 1;
  try {
    launch(bug.name, bug.kernel, config, nullptr, Params{out.get(), planted});
  } catch (const std::exception& error) {
    return error.what();
  }
  for (int i = 0; i < kThreads; ++i)
    if (std::isnan(out[static_cast<size_t>(i)])) return "a result is NaN";
  return "";
}

std::string check_half() {
  for (unsigned bits = 0; bits < 0x7c01u; ++bits)
    if (float_to_half(half_to_float(static_cast<uint16_t>(bits))) != bits) return "a float16 changes";
  const std::pair<float, unsigned> ties[] = {{1.0f + 1.0f / 2048, 0x3c00},
                                             {1.0f + 3.0f / 2048, 0x3c02},
                                             {65519.0f, 0x7bff},
                                             {65520.0f, 0x7c00},
                                             {std::ldexp(1.0f, -25), 0},
                                             {std::ldexp(1.5f, -25), 1},
                                             {std::ldexp(2047.0f, -25), 0x400}};
  for (const auto& [value, bits] : ties)
    if (float_to_half(value) != bits) return "a float rounds wrong to float16";
  return std::isnan(half_to_float(float_to_half(NAN))) ? "" : "NaN is lost in float16";
}

}  // namespace

int main(int argc, char** argv) {
  const std::string name = argc > 1 ? argv[1] : "";
  int failed = 0;
  if (name.empty()) {
    const std::string problem = check_half();
    if (!problem.empty()) ++failed, std::puts(problem.c_str());
  }
  for (const Bug& bug : kBugs) {
    if (name == "--list") std::printf("%s %s\n", bug.name, bug.seen_by);
    if (name == bug.name) return run(bug, true).empty() ? 0 : 1;
    if (!name.empty()) continue;
    const std::string without = run(bug, false);
    if (!without.empty()) ++failed, std::printf("%s, without its bug: %s\n", bug.name, without.c_str());
    if (std::strcmp(bug.seen_by, "all") == 0 && run(bug, true).empty())
      ++failed, std::printf("%s: not seen\n", bug.name);
  }
  return failed ? 1 : 0;
}
