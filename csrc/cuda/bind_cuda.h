#pragma once

#include <pybind11/pybind11.h>

namespace elmo_fast {

// Adds the launchers to a module: _cuda, or the emulated one of the tests.
void bind_cuda(pybind11::module_& m);

}  // namespace elmo_fast
