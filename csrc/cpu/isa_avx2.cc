// Compiled for AVX2 and FMA.
#include "cpu/dot_avx2.h"
#include "cpu/vec_avx2.h"

#include "cpu/table-inl.h"

extern "C" const elmo_fast::KernelTable* elmo_fast::elmo_fast_kernels_avx2() {
  static constexpr KernelTable kTable = make_table<Avx2Vec, Avx2Dot>("avx2");
  return &kTable;
}
