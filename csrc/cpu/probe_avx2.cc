// Compiled for AVX2 and FMA.
#include "vec_avx2.h"

#include "probe-inl.h"

extern "C" const elmo_fast::ProbeTable* elmo_fast::elmo_fast_probe_avx2() {
  static constexpr ProbeTable kTable = make_probe<Avx2Vec>("fma_avx2");
  return &kTable;
}
