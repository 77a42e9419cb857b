// Compiled for AArch64.
#include "cpu/vec_neon.h"

#include "probe/probe-inl.h"

extern "C" const elmo_fast::ProbeTable* elmo_fast::elmo_fast_probe_neon() {
  static constexpr ProbeTable kTable = {{fma_loop<NeonVec>("fma_neon")}, probe_read<NeonVec>};
  return &kTable;
}
