// A precision's name, and what it runs as here. Never chosen for the user.
#pragma once

#include <string>

#include "cpu/kernels.h"

namespace elmo_fast {

// "float32", "bf16x3", "bf16x2", "bfloat16" or "int8"; throws std::invalid_argument for anything else.
Precision parse_precision(const std::string& name);
const char* name_of(Precision precision);

// What a model asked for in this precision runs as with the instruction set in use: itself, or float32.
Precision precision_in_use(Precision asked);

}  // namespace elmo_fast
