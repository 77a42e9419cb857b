// One time step of an LSTM with projection: gates and cell update on the tile, then projection, clip and skip.
//
//   c = sigmoid(i) * tanh(g) + sigmoid(f) * c, clipped;  m = sigmoid(o) * tanh(c)
//   h = W_P m, clipped;  y = h (+ the layer's input)
// and the backward pass through the cells. A clip passes no gradient where it takes effect.
// Source: Sak et al. 2014, arXiv:1402.1128; clipping and skip connection as in bilm-tf.
#pragma once

#include "cpu/math-inl.h"
#include "cpu/product-inl.h"
#include "cpu/vec_several.h"

namespace elmo_fast {
namespace {

// Updates the 16 cells of one panel and one row. saved: kSavedPanel floats, or null.
template <class V>
void update_cells(const float* tile, const float* xw, float* c, float* m, float cell_clip, float* saved) {
  using U = UnitOf<V>;
  using F = typename U::F;
  const auto sum = [&](int gate) { return U::add(U::load(xw + gate * kUnit), U::load(tile + gate * kUnit)); };
  const F i = sigmoid<U>(sum(0)), f = sigmoid<U>(sum(1)), g = tanh<U>(sum(2)), o = sigmoid<U>(sum(3));
  F cell = U::fma(f, U::load(c), U::mul(i, g));
  if (saved) {
    U::store(saved, i);
    U::store(saved + kUnit, f);
    U::store(saved + 2 * kUnit, g);
    U::store(saved + 3 * kUnit, o);
    U::store(saved + kSavedCell, cell);
  }
  if (cell_clip > 0.0f) cell = clip<U>(cell, U::set1(cell_clip));
  U::store(c, cell);
  U::store(m, U::mul(o, tanh<U>(cell)));
}

template <class V, class Product>
void lstm_gates(const LstmGatesArgs& p, int64_t panel_begin, int64_t panel_end) {
  Product::for_each_panel(
      p.gemm, panel_begin * kGateUnits, panel_end * kGateUnits, p.reverse,
      [&](int64_t row, int64_t u, int, float* tile) {
        const int64_t panel = u / kGateUnits;
        alignas(64) float m[kUnit];
        float* saved = p.saved ? p.saved + row * p.ldsaved + panel * kSavedPanel : nullptr;
        update_cells<V>(tile, p.xw[row] + panel * p.xw_panel, p.c + (panel * p.c_rows + row) * kUnit, m, p.cell_clip,
                        saved);
        if constexpr (Product::kRoundsToIntegers) {  // an integer cannot be NaN, but the row's scale can
          bool is_nan = false;
          for (const float x : m) is_nan |= x != x;
          // Several threads may write the same value here.
          if (is_nan) __atomic_store_n(reinterpret_cast<uint32_t*>(p.m_scales + row), 0x7fc00000u, __ATOMIC_RELAXED);
        }
        Product::store(static_cast<char*>(p.m) + row * p.ldm, panel * kUnit, m);
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

// Backward pass of the 16 cells of one panel and one row; dm: their gradient with respect to m.
template <class V>
void update_cells_backward(const LstmBackwardArgs& p, int64_t row, int64_t panel, const float* dm) {
  using U = UnitOf<V>;
  using F = typename U::F;
  const bool clipped = p.cell_clip > 0.0f;
  const F bound = U::set1(p.cell_clip), one = U::set1(1.0f);
  const float* saved = p.saved + row * p.ldsaved + panel * kSavedPanel;
  const float* c_before = p.c_before + row * p.ldc_before + panel * p.c_before_panel;
  float* dc = p.dc + row * p.lddc + panel * kUnit;
  float* m = p.m + row * p.ldm + panel * kUnit;
  float* dgates = p.dgates + row * p.lddgates + panel * kUnit;
  const F i = U::load(saved), f = U::load(saved + kUnit), g = U::load(saved + 2 * kUnit),
          o = U::load(saved + 3 * kUnit), raw = U::load(saved + kSavedCell), gradient = U::load(dm);
  F before = U::load(c_before);
  if (clipped && p.clip_before) before = clip<U>(before, bound);
  const F squashed = tanh<U>(clipped ? clip<U>(raw, bound) : raw);
  F dcell = U::fma(U::mul(gradient, o), U::sub(one, U::mul(squashed, squashed)), U::load(dc));
  if (clipped) dcell = U::select_less(bound, U::abs(raw), U::zero(), dcell);
  U::store(m, U::mul(o, squashed));
  U::store(dc, U::mul(dcell, f));
  U::store(dgates, U::mul(U::mul(dcell, g), U::mul(i, U::sub(one, i))));
  U::store(dgates + p.padded_cells, U::mul(U::mul(dcell, before), U::mul(f, U::sub(one, f))));
  U::store(dgates + 2 * p.padded_cells, U::mul(U::mul(dcell, i), U::sub(one, U::mul(g, g))));
  U::store(dgates + 3 * p.padded_cells, U::mul(U::mul(gradient, squashed), U::mul(o, U::sub(one, o))));
}

template <class V, class Product>
void lstm_backward(const LstmBackwardArgs& p, int64_t panel_begin, int64_t panel_end) {
  Product::for_each_panel(p.gemm, panel_begin, panel_end, false, [&](int64_t row, int64_t u, int units, float* tile) {
    for (int i = 0; i < units; ++i) update_cells_backward<V>(p, row, u + i, tile + i * kUnit);
  });
}

}  // namespace
}  // namespace elmo_fast
