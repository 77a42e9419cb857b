// Compiled for AVX-512F.
#include "cpu/vec_avx512.h"

#include "probe/probe-inl.h"

extern "C" const elmo_fast::ProbeTable* elmo_fast::elmo_fast_probe_avx512() {
  static constexpr ProbeTable kTable = {{fma_loop<Avx512Vec>("fma_avx512")}, probe_read<Avx512Vec>};
  return &kTable;
}
