// One time step of an LSTM with projection: gates and cell update on the tile, then projection, clip and skip.
//
//   c = sigmoid(i) * tanh(g) + sigmoid(f) * c, clipped;  m = sigmoid(o) * tanh(c)
//   h = W_P m, clipped;  y = h (+ the layer's input)
// Source: Sak et al. 2014, arXiv:1402.1128; clipping and skip connection as in bilm-tf.
#pragma once

#include "math-inl.h"
#include "product-inl.h"

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

template <class V, class Product>
void lstm_gates(const LstmGatesArgs& p, int64_t panel_begin, int64_t panel_end) {
  const bool clipped = p.cell_clip > 0.0f;
  const typename V::F bound = V::set1(p.cell_clip);
  Product::for_each_panel(
      p.gemm, panel_begin * kGateUnits, panel_end * kGateUnits, p.reverse,
      [&](int64_t row, int64_t u, int, float* tile) {
        const int64_t cell = u / kGateUnits * kUnit;
        alignas(64) float m[kUnit];
        update_cells<V>(tile, p.xw[row] + u * kUnit, p.c + row * p.ldc + cell, m, clipped, bound);
        if constexpr (Product::kRoundsToIntegers) {  // an integer cannot say NaN, the row's scale can
          bool is_nan = false;
          for (const float x : m) is_nan |= x != x;
          // Several threads may write the same value here.
          if (is_nan) __atomic_store_n(reinterpret_cast<uint32_t*>(p.m_scales + row), 0x7fc00000u, __ATOMIC_RELAXED);
        }
        Product::store(static_cast<char*>(p.m) + row * p.ldm, cell, m);
      });
}

template <class V, class Product>
void lstm_project(const LstmProjectArgs& p, int64_t unit_begin, int64_t unit_end) {
  using F = typename V::F;
  const bool clipped = p.proj_clip > 0.0f;
  const F bound = V::set1(p.proj_clip);
  Product::for_each_panel(p.gemm, unit_begin, unit_end, false, [&](int64_t row, int64_t u, int units, float* tile) {
    const int64_t first = u * kUnit;
    int64_t wanted = p.projection_dim - first;  // columns the caller's array has; the rest is padding
    if (wanted > units * kUnit) wanted = units * kUnit;
    for (int c = 0; c < units * kUnit; c += V::kWidth) {
      F h = V::load(tile + c);
      if (clipped) h = clip<V>(h, bound);
      V::store(p.h + row * p.ldh + first + c, h);
      if (p.skip) h = V::add(h, V::load(p.skip + row * p.ldskip + first + c));
      if (p.y) V::store(p.y + row * p.ldy + first + c, h);
      V::store(tile + c, h);
    }
    __builtin_memcpy(p.out[row] + first, tile, static_cast<size_t>(wanted) * sizeof(float));
  });
}

}  // namespace
}  // namespace elmo_fast
