// Every kernel table that can run here: those of the library, and extra ones for the tests.
#pragma once

#include <string>
#include <vector>

#include "cpu/instruction_sets.h"

namespace elmo_fast {

const KernelTable* emulated_avx512_kernels();  // the AVX-512 unit over portable stand-ins for its intrinsics
const KernelTable* emulated_amx_kernels();     // the matrix-tile unit on tiles made of memory
const KernelTable* generic8_kernels();         // the specification with 8 and with 16 lanes: checks that tile shapes
const KernelTable* generic16_kernels();        // and edge handling of wide vectors do not affect the result

inline std::vector<const KernelTable*> all_tables() {
  std::vector<const KernelTable*> tables;
  for (const std::string& name : isas_available()) tables.push_back(&kernels_of(name));
  tables.push_back(generic8_kernels());
  tables.push_back(generic16_kernels());
  tables.push_back(emulated_amx_kernels());
#ifdef ELMO_FAST_EMULATED_AVX512
  if (__builtin_cpu_supports("fma")) tables.push_back(emulated_avx512_kernels());
#endif
  return tables;
}

}  // namespace elmo_fast
