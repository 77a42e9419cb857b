// Compiled for AVX-512 VNNI: int8 products only, the rest is AVX-512's.
#include "cpu/dot_vnni.h"
#include "cpu/vec_avx512.h"

#include "cpu/table-inl.h"

extern "C" const elmo_fast::ProductKernels* elmo_fast::elmo_fast_int8_avx512vnni() {
  static constexpr ProductKernels kProducts = product_kernels<Avx512Vec, Int8Product<Avx512Vec, Avx512VnniDot>>();
  return &kProducts;
}
