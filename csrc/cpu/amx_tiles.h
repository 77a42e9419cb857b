// The matrix tiles of the processor. amx_product-inl.h is a template over this class, so that a test can run it on
// tiles made of plain memory.
//
// There are eight tiles of up to 16 rows of 64 bytes. The compiler does not know which memory these instructions
// access, so each of them is accompanied by a clobber; without it GCC 12 drops the stores to the configuration and
// moves others.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace elmo_fast {
namespace {

struct AmxTiles {
  // Tiles 0-3 are sums, 4 and 5 rows of x, 6 and 7 weights. Sums 0 and 1 go with tile 4 and have upper rows, 2 and 3 go
  // with tile 5 and have lower rows; with lower 0 there is one tile of rows, and all four sums go with it.
  static void configure(int upper, int lower) {
    struct alignas(64) {
      uint8_t palette = 1, start_row = 0, reserved[14] = {};
      uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      uint8_t rows[16] = {};
    } c;
    const auto u = static_cast<uint8_t>(upper), l = static_cast<uint8_t>(lower > 0 ? lower : upper);
    c.rows[0] = c.rows[1] = c.rows[4] = u;
    c.rows[2] = c.rows[3] = l;
    c.rows[5] = lower > 0 ? l : 16;  // without lower rows tile 5 holds weights
    c.rows[6] = c.rows[7] = 16;
    asm volatile("ldtilecfg %0" ::"m"(c) : "memory");
  }
  static void release() { asm volatile("tilerelease" ::: "memory"); }

  template <int kTile>
  static void zero() {
    asm volatile("tilezero %%tmm%c0" ::"i"(kTile));
  }
  template <int kTile>
  static void load(const void* p, ptrdiff_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(p), "r"(stride), "i"(kTile) : "memory");
  }
  template <int kTile>
  static void store(void* p, ptrdiff_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(p), "r"(stride), "i"(kTile) : "memory");
  }
  // sum += x * w, of bfloat16 pairs or of int8 quads.
  template <int kSum, int kX, int kW>
  static void multiply_bfloat16() {
    asm volatile("tdpbf16ps %%tmm%c0, %%tmm%c1, %%tmm%c2" ::"i"(kW), "i"(kX), "i"(kSum));
  }
  template <int kSum, int kX, int kW>
  static void multiply_int8() {
    asm volatile("tdpbssd %%tmm%c0, %%tmm%c1, %%tmm%c2" ::"i"(kW), "i"(kX), "i"(kSum));
  }
};

}  // namespace
}  // namespace elmo_fast
