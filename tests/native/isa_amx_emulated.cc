// The matrix-tile unit on tiles made of plain memory, so that its code runs on any machine.
#include "cpu/vec_generic.h"

#include "cpu/amx_product-inl.h"
#include "cpu/table-inl.h"
#include "test_tables.h"

namespace elmo_fast {
namespace {

// The effect of the instructions, with checks where a processor would raise SIGILL or a fault.
struct MemoryTiles {
  struct Tile {
    int rows;
    unsigned char data[16][64];
  };
  static thread_local Tile tiles[8];
  static thread_local bool configured;

  static void require(bool condition) {
    if (!condition) __builtin_trap();
  }
  static void configure(int upper, int lower) {
    require(upper >= 1 && upper <= 16 && lower >= 0 && lower <= 16);
    const int second = lower > 0 ? lower : upper;
    const int rows[8] = {upper, upper, second, second, upper, lower > 0 ? lower : 16, 16, 16};
    for (int t = 0; t < 8; ++t) {
      tiles[t].rows = rows[t];
      __builtin_memset(tiles[t].data, 0xff,
                       sizeof tiles[t].data);  // the processor clears them; code must not rely on it
    }
    configured = true;
  }
  static void release() { configured = false; }
  template <int kTile>
  static void zero() {
    require(configured);
    __builtin_memset(tiles[kTile].data, 0, sizeof tiles[kTile].data);
  }
  template <int kTile>
  static void load(const void* p, ptrdiff_t stride) {
    require(configured);
    for (int r = 0; r < tiles[kTile].rows; ++r)
      __builtin_memcpy(tiles[kTile].data[r], static_cast<const char*>(p) + r * stride, 64);
  }
  template <int kTile>
  static void store(void* p, ptrdiff_t stride) {
    require(configured);
    for (int r = 0; r < tiles[kTile].rows; ++r)
      __builtin_memcpy(static_cast<char*>(p) + r * stride, tiles[kTile].data[r], 64);
  }
  template <int kSum, int kX, int kW>
  static void multiply_bfloat16() {
    require(configured && tiles[kSum].rows == tiles[kX].rows && tiles[kW].rows == 16);
    for (int r = 0; r < tiles[kSum].rows; ++r)
      for (int n = 0; n < 16; ++n) {
        float even = 0.0f, odd = 0.0f;
        for (int k = 0; k < 16; ++k) {
          even = __builtin_fmaf(value(kX, r, 2 * k), value(kW, k, 2 * n), even);
          odd = __builtin_fmaf(value(kX, r, 2 * k + 1), value(kW, k, 2 * n + 1), odd);
        }
        float sum;
        __builtin_memcpy(&sum, &tiles[kSum].data[r][4 * n], sizeof sum);
        sum += even + odd;
        __builtin_memcpy(&tiles[kSum].data[r][4 * n], &sum, sizeof sum);
      }
  }
  template <int kSum, int kX, int kW>
  static void multiply_int8() {
    require(configured && tiles[kSum].rows == tiles[kX].rows && tiles[kW].rows == 16);
    for (int r = 0; r < tiles[kSum].rows; ++r)
      for (int n = 0; n < 16; ++n) {
        int32_t sum;
        __builtin_memcpy(&sum, &tiles[kSum].data[r][4 * n], sizeof sum);
        for (int k = 0; k < 16; ++k)
          for (int i = 0; i < 4; ++i)
            sum += static_cast<signed char>(tiles[kX].data[r][4 * k + i]) *
                   static_cast<signed char>(tiles[kW].data[k][4 * n + i]);
        __builtin_memcpy(&tiles[kSum].data[r][4 * n], &sum, sizeof sum);
      }
  }

 private:
  static float value(int tile, int row, int i) {
    uint16_t half;
    __builtin_memcpy(&half, &tiles[tile].data[row][2 * i], sizeof half);
    return from_bfloat16(half);
  }
};
thread_local MemoryTiles::Tile MemoryTiles::tiles[8];
thread_local bool MemoryTiles::configured;

}  // namespace

const KernelTable* emulated_amx_kernels() {
  using V = GenericVec<16>;
  static const KernelTable kTable = [] {
    KernelTable table = make_table<V, GenericDot>("amx, emulated");
    const auto set = [&](Precision p, ProductKernels k) { table.products[static_cast<int>(p)] = k; };
    set(Precision::kBf16x3, product_kernels<V, AmxBfloat16<V, MemoryTiles, 3>>());
    set(Precision::kBf16x2, product_kernels<V, AmxBfloat16<V, MemoryTiles, 2>>());
    set(Precision::kBfloat16, product_kernels<V, AmxBfloat16<V, MemoryTiles, 1>>());
    set(Precision::kInt8, product_kernels<V, AmxInt8<V, MemoryTiles>>());
    return table;
  }();
  return &kTable;
}

}  // namespace elmo_fast
