// The plain unit requires no instruction set: it defines the bits, not the speed.
#include "cpu/vec_generic.h"

#include "cpu/table-inl.h"

extern "C" const elmo_fast::KernelTable* elmo_fast::elmo_fast_kernels_generic() {
  static constexpr KernelTable kTable = make_table<GenericVec<4>, GenericDot>("generic");
  return &kTable;
}
