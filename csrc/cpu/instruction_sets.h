// Which instruction set runs: detected, forced by ELMO_FAST_ISA, or chosen in process.
#pragma once

#include <string>
#include <vector>

#include "cpu/kernels.h"

namespace elmo_fast {

// Names from slowest to fastest: "generic", then of "avx2", "avx2vnni", "avx512", "avx512vnni", "amx", or "neon", those
// that the compiler knew.
std::vector<std::string> isas_built();
std::vector<std::string> isas_available();  // built, and both processor and operating system support them

// The kernels in use. First call: ELMO_FAST_ISA, or the fastest available.
// Throws std::invalid_argument if the variable names an unknown or unsupported set.
const KernelTable& kernels();

// The kernels that run a model packed in this format: those in use, or, if they have none for it because another set
// was in use when the model was packed, those of that set.
const KernelTable& kernels_for(Precision format);

// The kernels of one named set, for tests. Throws std::invalid_argument as above.
const KernelTable& kernels_of(const std::string& name);

// Switches all later calls; models need no reloading, but were packed in the format that the set in use before had for
// their precision. Throws std::invalid_argument and changes nothing.
void set_isa(const std::string& name);

// The same for a table that this library does not know, for tests.
void use_kernels(const KernelTable& table);

}  // namespace elmo_fast
