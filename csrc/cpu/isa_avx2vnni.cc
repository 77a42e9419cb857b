// Compiled for AVX-VNNI (with AVX2 and FMA): int8 products only, the rest is AVX2's.
#include "cpu/dot_vnni.h"
#include "cpu/vec_avx2.h"

#include "cpu/table-inl.h"

extern "C" const elmo_fast::ProductKernels* elmo_fast::elmo_fast_int8_avx2vnni() {
  static constexpr ProductKernels kProducts = product_kernels<Avx2Vec, Int8Product<Avx2Vec, Avx2VnniDot>>();
  return &kProducts;
}
