// One time step of an LSTM with projection: gates and cell update on the tile, then projection, clip and skip.
//
//   c = sigmoid(i) * tanh(g) + sigmoid(f) * c, clipped;  m = sigmoid(o) * tanh(c)
//   h = W_P m, clipped;  y = h (+ the layer's input)
// Source: Sak et al. 2014, arXiv:1402.1128; clipping and skip connection as in bilm-tf.
#pragma once

#include "gemm-inl.h"
#include "math-inl.h"

namespace elmo_fast {
namespace {

// The 16 cells of one panel and one row.
template <class V>
void update_cells(const float* tile, const float* xw, float* c, float* m, bool clipped, typename V::F bound) {
  using F = typename V::F;
  for (int j = 0; j < kUnit; j += V::kWidth) {
    const F i = sigmoid<V>(V::add(V::load(xw + j), V::load(tile + j)));
    const F f = sigmoid<V>(V::add(V::load(xw + kUnit + j), V::load(tile + kUnit + j)));
    const F g = tanh<V>(V::add(V::load(xw + 2 * kUnit + j), V::load(tile + 2 * kUnit + j)));
    const F o = sigmoid<V>(V::add(V::load(xw + 3 * kUnit + j), V::load(tile + 3 * kUnit + j)));
    F cell = V::fma(f, V::load(c + j), V::mul(i, g));
    if (clipped) cell = clip<V>(cell, bound);
    V::store(c + j, cell);
    V::store(m + j, V::mul(o, tanh<V>(cell)));
  }
}

template <class V>
void lstm_gates(const LstmGatesArgs& p, int64_t panel_begin, int64_t panel_end) {
  alignas(64) float tile[kRowBlock * kPanel];
  const bool clipped = p.cell_clip > 0.0f;
  const typename V::F bound = V::set1(p.cell_clip);
  for (int64_t i = panel_begin; i < panel_end; ++i) {
    const int64_t panel = p.reverse ? panel_begin + panel_end - 1 - i : i;
    for_each_row_block(p.gemm.rows, [&](int64_t row_begin, int64_t rows) {
      gemm_panel<V>(p.gemm, row_begin, rows, panel * kGateUnits, kGateUnits, tile);
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t row = row_begin + r;
        update_cells<V>(tile + r * kPanel, p.xw + row * p.ldxw + panel * kPanel, p.c + row * p.ldc + panel * kUnit,
                        p.m + row * p.ldm + panel * kUnit, clipped, bound);
      }
    });
  }
}

template <class V>
void lstm_project(const LstmProjectArgs& p, int64_t unit_begin, int64_t unit_end) {
  using F = typename V::F;
  alignas(64) float tile[kRowBlock * kPanel];
  const bool clipped = p.proj_clip > 0.0f;
  const F bound = V::set1(p.proj_clip);
  for (int64_t u = unit_begin; u < unit_end; u += kGateUnits) {
    const int units = static_cast<int>(unit_end - u < kGateUnits ? unit_end - u : kGateUnits);
    const int64_t first = u * kUnit;
    int64_t wanted = p.projection_dim - first;  // columns the caller's array has; the rest is padding
    if (wanted > units * kUnit) wanted = units * kUnit;
    for_each_row_block(p.gemm.rows, [&](int64_t row_begin, int64_t rows) {
      gemm_panel<V>(p.gemm, row_begin, rows, u, units, tile);
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t row = row_begin + r;
        float* t = tile + r * kPanel;
        for (int c = 0; c < units * kUnit; c += V::kWidth) {
          F h = V::load(t + c);
          if (clipped) h = clip<V>(h, bound);
          V::store(p.h + row * p.ldh + first + c, h);
          if (p.skip) h = V::add(h, V::load(p.skip + row * p.ldskip + first + c));
          if (p.y) V::store(p.y + row * p.ldy + first + c, h);
          V::store(t + c, h);
        }
        __builtin_memcpy(p.out[row] + first, t, static_cast<size_t>(wanted) * sizeof(float));
      }
    });
  }
}

}  // namespace
}  // namespace elmo_fast
