// One time step of an LSTM with projection: gates and cell update on the tile, then projection, clip and skip.
//
//   c = sigmoid(i) * tanh(g) + sigmoid(f) * c, clipped;  m = sigmoid(o) * tanh(c)
//   h = W_P m, clipped;  y = h (+ the layer's input)
// and the way back through the cells. A clip passes no gradient where it bites.
// Source: Sak et al. 2014, arXiv:1402.1128; clipping and skip connection as in bilm-tf.
#pragma once

#include "math-inl.h"
#include "product-inl.h"

namespace elmo_fast {
namespace {

// The 16 cells of one panel and one row. saved: kSavedPanel floats, or null.
template <class V>
void update_cells(const float* tile, const float* xw, float* c, float* m, bool clipped, typename V::F bound,
                  float* saved) {
  using F = typename V::F;
  for (int j = 0; j < kUnit; j += V::kWidth) {
    const F i = sigmoid<V>(V::add(V::load(xw + j), V::load(tile + j)));
    const F f = sigmoid<V>(V::add(V::load(xw + kUnit + j), V::load(tile + kUnit + j)));
    const F g = tanh<V>(V::add(V::load(xw + 2 * kUnit + j), V::load(tile + 2 * kUnit + j)));
    const F o = sigmoid<V>(V::add(V::load(xw + 3 * kUnit + j), V::load(tile + 3 * kUnit + j)));
    F cell = V::fma(f, V::load(c + j), V::mul(i, g));
    if (saved) {
      V::store(saved + j, i);
      V::store(saved + kUnit + j, f);
      V::store(saved + 2 * kUnit + j, g);
      V::store(saved + 3 * kUnit + j, o);
      V::store(saved + kSavedCell + j, cell);
    }
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
        float* saved = p.saved ? p.saved + row * p.ldsaved + cell / kUnit * kSavedPanel : nullptr;
        update_cells<V>(tile, p.xw[row] + u * kUnit, p.c + row * p.ldc + cell, m, clipped, bound, saved);
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
      if (p.saved) V::store(p.saved + row * p.ldsaved + first + c, h);
      if (clipped) h = clip<V>(h, bound);
      V::store(p.h + row * p.ldh + first + c, h);
      if (p.skip) h = V::add(h, V::load(p.skip + row * p.ldskip + first + c));
      if (p.y) V::store(p.y + row * p.ldy + first + c, h);
      V::store(tile + c, h);
    }
    __builtin_memcpy(p.out[row] + first, tile, static_cast<size_t>(wanted) * sizeof(float));
  });
}

// The 16 cells of one panel and one row, backwards; dm: their gradient of m.
template <class V>
void update_cells_backward(const LstmBackwardArgs& p, int64_t row, int64_t panel, const float* dm) {
  using F = typename V::F;
  const bool clipped = p.cell_clip > 0.0f;
  const F bound = V::set1(p.cell_clip), one = V::set1(1.0f);
  const float* saved = p.saved + row * p.ldsaved + panel * kSavedPanel;
  const float* c_before = p.c_before + row * p.ldc_before + panel * p.c_before_panel;
  float* dc = p.dc + row * p.lddc + panel * kUnit;
  float* m = p.m + row * p.ldm + panel * kUnit;
  float* dgates = p.dgates + row * p.lddgates + panel * kUnit;
  for (int j = 0; j < kUnit; j += V::kWidth) {
    const F i = V::load(saved + j), f = V::load(saved + kUnit + j), g = V::load(saved + 2 * kUnit + j),
            o = V::load(saved + 3 * kUnit + j), raw = V::load(saved + kSavedCell + j), gradient = V::load(dm + j);
    F before = V::load(c_before + j);
    if (clipped && p.clip_before) before = clip<V>(before, bound);
    const F squashed = tanh<V>(clipped ? clip<V>(raw, bound) : raw);
    F dcell = V::fma(V::mul(gradient, o), V::sub(one, V::mul(squashed, squashed)), V::load(dc + j));
    if (clipped) dcell = V::select_less(bound, V::abs(raw), V::zero(), dcell);
    V::store(m + j, V::mul(o, squashed));
    V::store(dc + j, V::mul(dcell, f));
    V::store(dgates + j, V::mul(V::mul(dcell, g), V::mul(i, V::sub(one, i))));
    V::store(dgates + p.padded_cells + j, V::mul(V::mul(dcell, before), V::mul(f, V::sub(one, f))));
    V::store(dgates + 2 * p.padded_cells + j, V::mul(V::mul(dcell, i), V::sub(one, V::mul(g, g))));
    V::store(dgates + 3 * p.padded_cells + j, V::mul(V::mul(gradient, squashed), V::mul(o, V::sub(one, o))));
  }
}

template <class V, class Product>
void lstm_backward(const LstmBackwardArgs& p, int64_t panel_begin, int64_t panel_end) {
  Product::for_each_panel(p.gemm, panel_begin, panel_end, false, [&](int64_t row, int64_t u, int units, float* tile) {
    for (int i = 0; i < units; ++i) update_cells_backward<V>(p, row, u + i, tile + i * kUnit);
  });
}

}  // namespace
}  // namespace elmo_fast
