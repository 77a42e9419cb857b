// The AVX-512 unit with portable stand-ins for its intrinsics (SIMDe), so that its code runs on any machine.
#define ELMO_FAST_INTRINSICS_PROVIDED
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

#include "cpu/vec_avx512.h"

#include "cpu/table-inl.h"
#include "test_tables.h"

const elmo_fast::KernelTable* elmo_fast::emulated_avx512_kernels() {
  static constexpr KernelTable kTable = make_table<Avx512Vec, GenericDot>("avx512, emulated");
  return &kTable;
}
