// Compiled for AVX-512F (with AVX2 and FMA).
#include "cpu/dot_avx2.h"
#include "cpu/vec_avx512.h"

#include "cpu/table-inl.h"

extern "C" const elmo_fast::KernelTable* elmo_fast::elmo_fast_kernels_avx512() {
  static constexpr KernelTable kTable = make_table<Avx512Vec, Avx2Dot>("avx512");
  return &kTable;
}
