// Compiled for AVX-512 with VNNI.
#include "cpu/dot_vnni.h"

#include "probe/probe_dot-inl.h"

extern "C" const elmo_fast::ProbeTable* elmo_fast::elmo_fast_probe_avx512vnni() {
  static constexpr ProbeTable kTable = {{dot_loop<Avx512VnniDot>("int8_avx512vnni")}, nullptr};
  return &kTable;
}
