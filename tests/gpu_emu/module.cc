// The Python module _cuda_emu: _cuda on the emulator, and the functions that its tests need.
#include "cuda/bind_cuda.h"
#include "cuda/gpu.cuh"

namespace py = pybind11;
using namespace elmo_fast::gpu;

PYBIND11_MODULE(_cuda_emu, m) {
  elmo_fast::bind_cuda(m);
  m.def(
      "set_schedule",
      [](const std::string& name, uint64_t seed) {
        set_schedule(name == "random"    ? Schedule::kRandom
                     : name == "reverse" ? Schedule::kReverse
                                         : Schedule::kInOrder,
                     seed);
      },
      py::arg("name"), py::arg("seed") = 0);
  m.def("set_device", &set_device, py::arg("properties"));
  m.def(
      "counters", [] { return py::make_tuple(counters.launches, counters.warm_ups, counters.queries); },
      "Launches, warm-up calls and queries so far.");
}
