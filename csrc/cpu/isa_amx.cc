// Compiled for AMX and the AVX-512 sets that come with it: only products on matrix tiles; the rest is AVX-512's.
#include "cpu/amx_tiles.h"
#include "cpu/vec_avx512.h"

#include "cpu/amx_product-inl.h"
#include "cpu/table-inl.h"

extern "C" const elmo_fast::ProductKernels* elmo_fast::elmo_fast_products_amx() {
  static constexpr ProductKernels kProducts[kPrecisions] = {
      {},
      product_kernels<Avx512Vec, AmxBfloat16<Avx512Vec, AmxTiles, 3>>(),
      product_kernels<Avx512Vec, AmxBfloat16<Avx512Vec, AmxTiles, 2>>(),
      product_kernels<Avx512Vec, AmxBfloat16<Avx512Vec, AmxTiles, 1>>(),
      product_kernels<Avx512Vec, AmxInt8<Avx512Vec, AmxTiles>>()};
  return kProducts;
}
