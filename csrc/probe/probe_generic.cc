// Compiled for the baseline; for machines without any of the others.
#include "cpu/vec_generic.h"

#include "probe/probe-inl.h"

extern "C" const elmo_fast::ProbeTable* elmo_fast::elmo_fast_probe_generic() {
  static constexpr ProbeTable kTable = {{fma_loop<GenericVec<4>>("fma_generic")}, probe_read<GenericVec<4>>};
  return &kTable;
}
