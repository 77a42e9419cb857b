// Compiled for AVX2 with VNNI.
#include "cpu/dot_vnni.h"

#include "probe/probe_dot-inl.h"

extern "C" const elmo_fast::ProbeTable* elmo_fast::elmo_fast_probe_avx2vnni() {
  static constexpr ProbeTable kTable = {{dot_loop<Avx2VnniDot>("int8_avx2vnni")}, nullptr};
  return &kTable;
}
