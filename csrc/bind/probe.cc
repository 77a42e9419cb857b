// The machine probe as functions of the Python module.
#include "probe/probe.h"
#include "bind/numpy_arguments.h"

namespace elmo_fast {

void bind_probe(py::module_& m) {
  m.def("probe_kinds", &probe_kinds, "What `probe` can measure on this machine.");
  m.def("probe", &probe, py::arg("kind"), py::arg("num_threads"), py::arg("seconds") = 0.03, py::arg("nbytes") = 0,
        py::call_guard<py::gil_scoped_release>(),
        "Measures one limit of this machine, all threads together.\n"
        "kind: one of `probe_kinds()`; seconds: about how long it takes; nbytes: for 'read', the memory that the\n"
        "threads read again and again. Returns operations a second (a multiply-add is two) or bytes a second.\n"
        "ValueError for a wrong argument, RuntimeError if other calls keep the thread pool busy.");
}

}  // namespace elmo_fast
