// The interface of a product, and the walk over panels that is shared by those on vector registers.
//
// A Product computes x W^T for one number format. It is a class of static functions:
//   row_bytes(depth), kPacksRows, pack_rows(args, begin, end)   the format of its rows, see kernels.h
//   store(row, column, values)       stores 16 floats in such a row, for the rows that a kernel computes itself (m)
//   for_each_panel(gemm, unit_begin, unit_end, reverse, finish) walks up to four units at a time, and calls
//     finish(row, unit, units, tile) for every row: tile holds the row's sums, units * 16 floats, and may be
//     overwritten
#pragma once

#include "cpu/always_inline.h"
#include "cpu/kernels.h"

namespace elmo_fast {
namespace {

constexpr int64_t round_up_to(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

// Calls body(unit, units, next) for panels of up to kGateUnits units, in ascending or descending order. next: the first
// unit of the following panel; for the last panel its own, where a walk back would start.
template <class Body>
void for_each_unit_group(int64_t unit_begin, int64_t unit_end, bool reverse, Body body) {
  const int64_t groups = (unit_end - unit_begin + kGateUnits - 1) / kGateUnits;
  for (int64_t i = 0; i < groups; ++i) {
    const int64_t u = unit_begin + (reverse ? groups - 1 - i : i) * kGateUnits;
    const int64_t next = i + 1 == groups ? u : reverse ? u - kGateUnits : u + kGateUnits;
    body(u, static_cast<int>(unit_end - u < kGateUnits ? unit_end - u : kGateUnits), next);
  }
}

inline const char* row_of(const Gemm& g, int64_t row) { return static_cast<const char*>(g.a) + row * g.lda; }
inline const char* unit_of(const PackedWeights& w, int64_t unit) {
  return static_cast<const char*>(w.data) + unit * w.unit_bytes;
}

// for_each_panel of a Product that computes a block's tile at once:
//   Product::tile(gemm, row_begin, rows, unit, units, next_unit, tile) for up to kRowBlock rows.
// The loop over row blocks, which have equal height, is the outer one: otherwise the rows would be read again for every
// panel, while now the weights are read again for every block, and there are fewer blocks. Each block walks the panels
// in the opposite direction of the one before.
template <class Product, class Finish>
void walk_panels(const Gemm& g, int64_t unit_begin, int64_t unit_end, bool reverse, Finish finish) {
  alignas(64) float tile[kRowBlock * kPanel];
  const int64_t n_blocks = (g.rows + kRowBlock - 1) / kRowBlock;
  for (int64_t i = 0; i < n_blocks; ++i) {
    const int64_t row_begin = g.rows * i / n_blocks, rows = g.rows * (i + 1) / n_blocks - row_begin;
    for_each_unit_group(unit_begin, unit_end, reverse != (i % 2 == 1), [&](int64_t u, int units, int64_t next) {
      Product::tile(g, row_begin, rows, u, units, next, tile);
      for (int64_t r = 0; r < rows; ++r) finish(row_begin + r, u, units, tile + r * kPanel);
    });
  }
}

}  // namespace
}  // namespace elmo_fast
