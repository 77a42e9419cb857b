// The Python module elmo_fast._cuda.
#include "cuda/bind_cuda.h"

PYBIND11_MODULE(_cuda, m) {
  m.doc() = "Native ELMo kernels for CUDA. Pointers and sizes in, nothing out: elmo_fast.cuda checks the tensors.";
  elmo_fast::bind_cuda(m);
}
