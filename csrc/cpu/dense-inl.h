// Dense layers of the token encoder, and the LSTM's input product: bias or highway gate are applied to the tile in L1.
#pragma once

#include "cpu/math-inl.h"
#include "cpu/product-inl.h"
#include "cpu/vec_several.h"

namespace elmo_fast {
namespace {

template <class V, class Product>
void dense(const DenseArgs& p, int64_t unit_begin, int64_t unit_end) {
  Product::for_each_panel(p.gemm, unit_begin, unit_end, false, [&](int64_t row, int64_t u, int units, float* tile) {
    float* out = p.out + row * p.ldo + u / kGateUnits * p.out_panel + u % kGateUnits * kUnit;
    for (int c = 0; c < units * kUnit; c += V::kWidth) {
      typename V::F y = V::load(tile + c);
      if (p.bias) y = V::add(y, V::load(p.bias + u * kUnit + c));
      V::store(out + c, y);
    }
  });
}

// x' = g x + (1 - g) relu(t). A pair of units holds t and the carry of the same 16 features.
template <class V, class Product>
void highway(const HighwayArgs& p, int64_t pair_begin, int64_t pair_end) {
  using U = UnitOf<V>;
  using F = typename U::F;
  const F one = U::set1(1.0f);
  Product::for_each_panel(p.gemm, 2 * pair_begin, 2 * pair_end, false,
                          [&](int64_t row, int64_t u, int units, float* tile) {
                            const float* x = p.x + row * p.ldx + u / 2 * kUnit;
                            float* out = p.out + row * p.ldo + u / 2 * kUnit;
                            for (int c = 0; c < units / 2 * kUnit; c += kUnit) {
                              const int at = 2 * c;  // transform of this feature in the tile
                              const float* bias = p.bias + u * kUnit + at;
                              const F transform = U::max(U::zero(), U::add(U::load(tile + at), U::load(bias)));
                              const F gate = sigmoid<U>(U::add(U::load(tile + at + kUnit), U::load(bias + kUnit)));
                              if (p.transform) {
                                U::store(p.transform + row * p.ldo + u / 2 * kUnit + c, transform);
                                U::store(p.gate + row * p.ldo + u / 2 * kUnit + c, gate);
                              }
                              U::store(out + c, U::fma(gate, U::load(x + c), U::mul(U::sub(one, gate), transform)));
                            }
                          });
}

}  // namespace
}  // namespace elmo_fast
