// Compiled for AVX2 and FMA.
#include "cpu/dot_avx2.h"
#include "cpu/vec_avx2.h"

#include "probe/probe-inl.h"
#include "probe/probe_dot-inl.h"

extern "C" const elmo_fast::ProbeTable* elmo_fast::elmo_fast_probe_avx2() {
  static constexpr ProbeTable kTable = {{fma_loop<Avx2Vec>("fma_avx2"), dot_loop<Avx2Dot>("int8_avx2")},
                                        probe_read<Avx2Vec>};
  return &kTable;
}
