#include "dispatch.h"

#include <atomic>
#include <cstdlib>
#include <stdexcept>

namespace elmo_fast {
namespace {

struct Isa {
  const char* name;
  const KernelTable* (*table)();
  bool (*supported)();
};

bool always() { return true; }

#if defined(__x86_64__) || defined(_M_X64)
// The compiler's run-time library checks CPUID together with OSXSAVE and XCR0, so that a feature the operating system
// does not save is reported as missing.
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool has_avx512() { return has_avx2() && __builtin_cpu_supports("avx512f"); }
#endif

// From slowest to fastest.
constexpr Isa kIsas[] = {
    {"generic", elmo_fast_kernels_generic, always},
#if defined(__x86_64__) || defined(_M_X64)
    {"avx2", elmo_fast_kernels_avx2, has_avx2},
    {"avx512", elmo_fast_kernels_avx512, has_avx512},
#elif defined(__aarch64__)
    {"neon", elmo_fast_kernels_neon, always},
#endif
};

template <class Keep>
std::vector<std::string> names(Keep keep) {
  std::vector<std::string> result;
  for (const Isa& isa : kIsas)
    if (keep(isa)) result.emplace_back(isa.name);
  return result;
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& w : words) text += (text.empty() ? "" : ", ") + w;
  return text;
}

const KernelTable* find(const std::string& name, const std::string& asked_by) {
  for (const Isa& isa : kIsas) {
    if (name != isa.name) continue;
    if (!isa.supported())
      throw std::invalid_argument(asked_by + ": this processor does not support '" + name +
                                  "'; available: " + joined(isas_available()));
    return isa.table();
  }
  throw std::invalid_argument(asked_by + ": unknown instruction set '" + name + "'; built: " + joined(isas_built()));
}

std::atomic<const KernelTable*> current{nullptr};

}  // namespace

std::vector<std::string> isas_built() {
  return names([](const Isa&) { return true; });
}

std::vector<std::string> isas_available() {
  return names([](const Isa& isa) { return isa.supported(); });
}

const KernelTable& kernels() {
  const KernelTable* table = current.load(std::memory_order_acquire);
  if (table) return *table;
  const char* forced = std::getenv("ELMO_FAST_ISA");
  table = forced && *forced ? find(forced, "ELMO_FAST_ISA") : find(isas_available().back(), "detection");
  const KernelTable* none = nullptr;
  // If another thread was first, its choice stands: set_isa may already have been called.
  return current.compare_exchange_strong(none, table) ? *table : *none;
}

const KernelTable& kernels_of(const std::string& name) { return *find(name, "instruction set"); }

void set_isa(const std::string& name) { current.store(find(name, "set_isa"), std::memory_order_release); }

}  // namespace elmo_fast
