// The names of precisions, and what they run as on this machine. A precision is never chosen for the user.
#pragma once

#include <string>

#include "cpu/kernels.h"

namespace elmo_fast {

// "float32", "bf16x3", "bf16x2", "bfloat16" or "int8"; throws std::invalid_argument for anything else.
Precision parse_precision(const std::string& name);
const char* name_of(Precision precision);

// Returns what a model that is packed now in this precision runs as: the same precision, or float32.
Precision precision_in_use(Precision asked);

}  // namespace elmo_fast
