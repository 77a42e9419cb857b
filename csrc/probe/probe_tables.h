// The loops that probe.cc times: one table per compilation unit, as in kernels.h.
#pragma once

#include <cstdint>

namespace elmo_fast {

// A loop of independent multiply-adds that stays in registers; a multiply-add counts as two operations.
struct ProbeLoop {
  const char* kind;
  int64_t operations;            // per pass
  float (*run)(int64_t passes);  // returns its result, so that the compiler leaves nothing out
};

struct ProbeTable {
  ProbeLoop loops[2];                        // kind is null if there is none
  float (*read)(const float* p, int64_t n);  // reads n floats, a multiple of 256; null if another unit does it
};

// One exported symbol per unit. Only those of the target architecture exist, and VNNI's and AMX's only if the compiler
// supports them.
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
