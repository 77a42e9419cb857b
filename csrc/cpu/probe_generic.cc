// Compiled for the baseline; for machines without any of the others.
#include "vec_generic.h"

#include "probe-inl.h"

extern "C" const elmo_fast::ProbeTable* elmo_fast::elmo_fast_probe_generic() {
  static constexpr ProbeTable kTable = make_probe<GenericVec<4>>("fma_generic");
  return &kTable;
}
