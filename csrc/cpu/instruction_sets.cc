#include "cpu/instruction_sets.h"

#include <atomic>
#include <cstdlib>
#include <stdexcept>

#include "cpu/precision.h"

#if defined(__x86_64__) || defined(_M_X64)
#define ELMO_FAST_X86_64
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace elmo_fast {
namespace {

struct Isa {
  const char* name;
  const KernelTable* (*table)();
  bool (*supported)();
};

bool always() { return true; }

// Returns a copy of the table `base` with the products of another unit.
KernelTable extended(const KernelTable& base, const char* name, const ProductKernels* products) {
  KernelTable table = base;
  table.name = name;
  for (int i = 0; i < kPrecisions; ++i)
    if (products[i].dense) table.products[i] = products[i];
  return table;
}

#ifdef ELMO_FAST_X86_64
const KernelTable* with_int8(const KernelTable& base, const char* name, const ProductKernels& int8) {
  ProductKernels products[kPrecisions] = {};
  products[static_cast<int>(Precision::kInt8)] = int8;
  return new KernelTable(extended(base, name, products));  // lives as long as the process
}

// The compiler's run-time library checks CPUID together with OSXSAVE and XCR0, so that a feature the operating system
// does not save is reported as missing.
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool has_avx512() { return has_avx2() && __builtin_cpu_supports("avx512f"); }

// For features that the library of older compilers does not know.
struct Leaf {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  Leaf(unsigned leaf, unsigned subleaf) { __get_cpuid_count(leaf, subleaf, &eax, &ebx, &ecx, &edx); }
};

#ifdef ELMO_FAST_HAVE_VNNI
bool has_avx2vnni() { return has_avx2() && Leaf(7, 0).eax >= 1 && (Leaf(7, 1).eax >> 4 & 1); }
bool has_avx512vnni() { return has_avx512() && __builtin_cpu_supports("avx512vnni"); }
const KernelTable* avx2vnni() {
  static const KernelTable* const table = with_int8(*elmo_fast_kernels_avx2(), "avx2vnni", *elmo_fast_int8_avx2vnni());
  return table;
}
const KernelTable* avx512vnni() {
  static const KernelTable* const table =
      with_int8(*elmo_fast_kernels_avx512(), "avx512vnni", *elmo_fast_int8_avx512vnni());
  return table;
}
#endif

#ifdef ELMO_FAST_HAVE_AMX
// Linux gives a process the large state of the matrix tiles only on request.
bool ask_for_tiles() {
#if defined(__linux__)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

bool has_amx() {
  static const bool has = [] {
    if (!has_avx512() || !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vl") ||
        !__builtin_cpu_supports("avx512dq"))
      return false;
    const unsigned edx = Leaf(7, 0).edx;
    constexpr unsigned kBf16 = 1u << 22, kTile = 1u << 24, kInt8 = 1u << 25;
    return (edx & kBf16) && (edx & kTile) && (edx & kInt8) && ask_for_tiles();
  }();
  return has;
}
const KernelTable* amx() {
  static const KernelTable* const table =
      new KernelTable(extended(*elmo_fast_kernels_avx512(), "amx", elmo_fast_products_amx()));
  return table;
}
#endif
#endif

// From slowest to fastest.
constexpr Isa kIsas[] = {
    {"generic", elmo_fast_kernels_generic, always},
#if defined(ELMO_FAST_X86_64)
    {"avx2", elmo_fast_kernels_avx2, has_avx2},
#ifdef ELMO_FAST_HAVE_VNNI
    {"avx2vnni", avx2vnni, has_avx2vnni},
#endif
    {"avx512", elmo_fast_kernels_avx512, has_avx512},
#ifdef ELMO_FAST_HAVE_VNNI
    {"avx512vnni", avx512vnni, has_avx512vnni},
#endif
#ifdef ELMO_FAST_HAVE_AMX
    {"amx", amx, has_amx},
#endif
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
  // If another thread was first, its choice is kept: set_isa may already have been called.
  return current.compare_exchange_strong(none, table) ? *table : *none;
}

const KernelTable& kernels_for(Precision format) {
  const KernelTable& table = kernels();
  if (table[format].dense) return table;
  for (const std::string& name : isas_available()) {
    const KernelTable& other = kernels_of(name);
    if (other[format].dense) return other;
  }
  throw std::logic_error(std::string("no instruction set of this processor computes in ") + name_of(format));
}

Precision precision_in_use(Precision asked) { return kernels()[asked].dense ? asked : Precision::kFloat32; }

const KernelTable& kernels_of(const std::string& name) { return *find(name, "instruction set"); }

void use_kernels(const KernelTable& table) { current.store(&table, std::memory_order_release); }

void set_isa(const std::string& name) { current.store(find(name, "set_isa"), std::memory_order_release); }

}  // namespace elmo_fast
