// Chooses the instruction set: detected, forced by ELMO_FAST_ISA, or set at run time.
#pragma once

#include <string>
#include <vector>

#include "cpu/kernels.h"

namespace elmo_fast {

// Names from slowest to fastest: "generic", then those of "avx2", "avx2vnni", "avx512", "avx512vnni" and "amx", or
// "neon", that the compiler supports.
std::vector<std::string> isas_built();
std::vector<std::string> isas_available();  // built in and supported by both the processor and the operating system

// The kernels in use. The first call chooses ELMO_FAST_ISA, or else the fastest available.
// Throws std::invalid_argument if the variable names an unknown or unsupported set.
const KernelTable& kernels();

// The kernels that run a model packed in this format: those in use or, if they do not support the format because
// another set was in use when the model was packed, those of the first available set that does.
const KernelTable& kernels_for(Precision format);

// The kernels of one named set, for tests. Throws std::invalid_argument as above.
const KernelTable& kernels_of(const std::string& name);

// Switches all later calls. Models need not be reloaded, but keep the format in which they were packed. Throws
// std::invalid_argument and then changes nothing.
void set_isa(const std::string& name);

// The same with a table that is not part of this library, for tests.
void use_kernels(const KernelTable& table);

}  // namespace elmo_fast
