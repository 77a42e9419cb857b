#include "cpu/vec_generic.h"

#include "cpu/table-inl.h"
#include "test_tables.h"

namespace elmo_fast {

const KernelTable* generic8_kernels() {
  static constexpr KernelTable kTable = make_table<GenericVec<8>, GenericDot>("generic, 8 lanes");
  return &kTable;
}

const KernelTable* generic16_kernels() {
  static constexpr KernelTable kTable = make_table<GenericVec<16>, GenericDot>("generic, 16 lanes");
  return &kTable;
}

}  // namespace elmo_fast
