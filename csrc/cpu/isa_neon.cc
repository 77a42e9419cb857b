// NEON is part of every AArch64.
#include "cpu/vec_neon.h"

#include "cpu/table-inl.h"

extern "C" const elmo_fast::KernelTable* elmo_fast::elmo_fast_kernels_neon() {
  static constexpr KernelTable kTable = make_table<NeonVec, GenericDot>("neon");
  return &kTable;
}
