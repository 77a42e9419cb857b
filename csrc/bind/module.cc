// The Python module elmo_fast._cpu: checks arguments, releases the interpreter lock, calls the engine. NumPy only.
#include <memory>

#include "bind/numpy_arguments.h"
#include "cpu/instruction_sets.h"
#include "cpu/precision.h"
#include "runtime/aligned_buffer.h"

namespace elmo_fast {
namespace {

// sigmoid or tanh of one instruction set, for tests.
Floats map_values(const std::string& isa, const std::string& function, const Floats& x) {
  const KernelTable& table = kernels_of(isa);
  if (function != "sigmoid" && function != "tanh") throw py::value_error("function: expected 'sigmoid' or 'tanh'");
  Floats y(x.size());
  (function == "tanh" ? table.tanh : table.sigmoid)(x.data(), y.mutable_data(), x.size());
  return y;
}

std::string compiler() {
#if defined(__clang__)
  return "clang " __clang_version__;
#else
  return "gcc " __VERSION__;
#endif
}

// As a context manager.
struct KeepsBlocks {
  std::unique_ptr<KeepBlocks> keep;
};

}  // namespace

PYBIND11_MODULE(_cpu, m) {
  m.doc() = "Native ELMo kernels for the CPU. Arrays are C-contiguous; errors in them are ValueError.";
  bind_token_encoder(m);
  bind_bilstm(m);
  bind_bilm(m);
  bind_lstm_backward(m);
  bind_probe(m);
  py::class_<KeepsBlocks>(m, "KeepBlocks", "Inside it, large blocks that are freed serve the next ones of their size.")
      .def(py::init())
      .def("__enter__", [](KeepsBlocks& self) { self.keep = std::make_unique<KeepBlocks>(); })
      .def("__exit__", [](KeepsBlocks& self, const py::args&) { self.keep.reset(); });
  m.def("isas_built", &isas_built, "Instruction sets compiled in, slowest first.");
  m.def("isas_available", &isas_available, "Those that this processor and operating system support.");
  m.def("get_isa", [] { return std::string(kernels().name); }, "The one in use.");
  m.def("set_isa", &set_isa, py::arg("name"), "Chooses another; ValueError if it is unknown or not supported.");
  m.def("map_values", &map_values, py::arg("isa"), py::arg("function"), py::arg("x"),
        "sigmoid or tanh as one instruction set computes it, for tests.");
  m.def(
      "precision_in_use", [](const std::string& asked) { return name_of(precision_in_use(parse_precision(asked))); },
      py::arg("precision"), "What a model packed now in this precision runs as.");
  m.def("compiler", &compiler, "Name and version of the compiler of this module.");
}

}  // namespace elmo_fast
