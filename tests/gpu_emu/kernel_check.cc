// Runs every CUDA kernel on the emulator and compares with plain loops in double.
//
//   kernel_check [--schedule in_order|reverse|random SEED] [--mutant NAME] [--only KERNEL] [--list]
//
// Exit code 0: all equal. A mutant is a deliberate fault, with which the exit code must be different, or a sanitizer's.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "cases.h"
#include "cuda/gpu.cuh"

namespace {

using namespace elmo_fast::gpu;

const char* const kMutantNames[] = {
#define ELMO_FAST_MUTANT(name) #name,
    ELMO_FAST_MUTANTS(ELMO_FAST_MUTANT)
#undef ELMO_FAST_MUTANT
};

Mutant mutant_of(const std::string& name) {
  for (size_t i = 0; i < sizeof kMutantNames / sizeof *kMutantNames; ++i)
    if (name == kMutantNames[i]) return static_cast<Mutant>(i);
  std::fprintf(stderr, "--mutant: unknown: %s\n", name.c_str());
  std::exit(64);
}

}  // namespace

int main(int argc, char** argv) {
  std::string only;
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    const auto next = [&] { return i + 1 < argc ? std::string(argv[++i]) : std::string(); };
    if (option == "--list") {
      for (size_t m = 1; m < sizeof kMutantNames / sizeof *kMutantNames; ++m) std::puts(kMutantNames[m]);
      return 0;
    } else if (option == "--mutant") {
      active_mutant = mutant_of(next());
    } else if (option == "--only") {
      only = next();
    } else if (option == "--schedule") {
      const std::string name = next();
      if (name == "random")
        set_schedule(Schedule::kRandom, std::strtoull(next().c_str(), nullptr, 10));
      else
        set_schedule(name == "reverse" ? Schedule::kReverse : Schedule::kInOrder);
    } else {
      std::fprintf(stderr, "unknown option: %s\n", option.c_str());
      return 64;
    }
  }
  int failed = 0, ran = 0;
  std::vector<Case> cases;
  for (const auto& some : {encoder_cases(), lstm_cases(), plan_cases()})
    cases.insert(cases.end(), some.begin(), some.end());
  for (const Case& c : cases) {
    if (c.name.find(only) == std::string::npos) continue;
    ++ran;
    std::string problem;
    try {
      problem = c.run();
    } catch (const std::exception& error) {
      problem = error.what();
    }
    if (problem.empty()) continue;
    ++failed;
    std::printf("%s: %s\n", c.name.c_str(), problem.c_str());
    if (active_mutant != Mutant::kNone) break;
  }
  std::printf("%d cases, %d failed\n", ran, failed);
  return failed || !ran ? 1 : 0;
}
