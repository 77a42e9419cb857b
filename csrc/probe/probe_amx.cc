// Compiled for AMX: products of 16 x 16 tiles, four sums from two times two tiles, as the kernels use them.
#include <immintrin.h>

#include "probe/probe_tables.h"

namespace elmo_fast {
namespace {

struct alignas(64) TileConfig {
  uint8_t palette, start_row, reserved[14];
  uint16_t bytes_per_row[16];
  uint8_t rows[16];
};

// Tiles 0-3 are sums, 4-7 factors. The factors are not zero: zeros take less power and run faster.
void load_tiles(uint32_t pattern) {
  TileConfig config = {};
  config.palette = 1;
  for (int tile = 0; tile < 8; ++tile) {
    config.bytes_per_row[tile] = 64;
    config.rows[tile] = 16;
  }
  alignas(64) uint32_t values[16 * 16];
  for (uint32_t i = 0; i < 256; ++i) values[i] = pattern + ((i * 37 % 64) << 16) + i * 11 % 64;
  // Without this GCC 12 drops the stores above, because neither intrinsic says that it reads memory.
  __asm__ volatile("" : : "r"(&config), "r"(values) : "memory");
  _tile_loadconfig(&config);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_loadd(4, values, 64);
  _tile_loadd(5, values, 64);
  _tile_loadd(6, values, 64);
  _tile_loadd(7, values, 64);
}

float release_tiles() {
  alignas(64) float sums[16 * 16];
  _tile_stored(0, sums, 64);
  __asm__ volatile("" : : "r"(sums) : "memory");
  _tile_release();
  return sums[0];
}

float probe_bf16(int64_t passes) {
  load_tiles(0x3c003c00u);  // pairs of bfloat16 near 0.008
  for (int64_t pass = 0; pass < passes; ++pass) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  return release_tiles();
}

float probe_int8(int64_t passes) {
  load_tiles(0x11f3250bu);
  for (int64_t pass = 0; pass < passes; ++pass) {
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 4, 7);
    _tile_dpbssd(2, 5, 6);
    _tile_dpbssd(3, 5, 7);
  }
  return release_tiles();
}

}  // namespace
}  // namespace elmo_fast

extern "C" const elmo_fast::ProbeTable* elmo_fast::elmo_fast_probe_amx() {
  // A product: 16 rows, 16 columns, 32 bfloat16 or 64 bytes deep.
  static constexpr ProbeTable kTable = {
      {{"bf16_amx", 4 * 2 * 16 * 16 * 32, probe_bf16}, {"int8_amx", 4 * 2 * 16 * 16 * 64, probe_int8}}, nullptr};
  return &kTable;
}
