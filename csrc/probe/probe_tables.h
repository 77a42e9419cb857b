// The loops that probe.cc times: one table a compilation unit, as in kernels.h.
#pragma once

#include <cstdint>

namespace elmo_fast {

// A loop of independent multiply-adds, a multiply-add being two operations, that stays in registers.
struct ProbeLoop {
  const char* kind;
  int64_t operations;            // a pass
  float (*run)(int64_t passes);  // returns what it computed, so that nothing is left out
};

struct ProbeTable {
  ProbeLoop loops[2];                        // kind is null where there is none
  float (*read)(const float* p, int64_t n);  // reads n floats, a multiple of 256; null where another unit does it
};

// One exported symbol a unit; only those of the architecture built for exist, and VNNI's and AMX's only if the compiler
// knows them.
extern "C" {
const ProbeTable* elmo_fast_probe_generic();
const ProbeTable* elmo_fast_probe_avx2();
const ProbeTable* elmo_fast_probe_avx512();
const ProbeTable* elmo_fast_probe_avx2vnni();
const ProbeTable* elmo_fast_probe_avx512vnni();
const ProbeTable* elmo_fast_probe_amx();
const ProbeTable* elmo_fast_probe_neon();
}

}  // namespace elmo_fast
