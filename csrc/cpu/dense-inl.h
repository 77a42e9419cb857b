// Dense layers of the token encoder and the LSTM's input product: bias or highway gate applied to the tile in L1.
#pragma once

#include "gemm-inl.h"
#include "math-inl.h"

namespace elmo_fast {
namespace {

template <class V>
void dense(const DenseArgs& p, int64_t unit_begin, int64_t unit_end) {
  alignas(64) float tile[kRowBlock * kPanel];
  for (int64_t u = unit_begin; u < unit_end; u += kGateUnits) {
    const int units = static_cast<int>(unit_end - u < kGateUnits ? unit_end - u : kGateUnits);
    for_each_row_block(p.gemm.rows, [&](int64_t row_begin, int64_t rows) {
      gemm_panel<V>(p.gemm, row_begin, rows, u, units, tile);
      for (int64_t r = 0; r < rows; ++r) {
        float* out = p.out + (row_begin + r) * p.ldo + u * kUnit;
        for (int c = 0; c < units * kUnit; c += V::kWidth) {
          typename V::F y = V::load(tile + r * kPanel + c);
          if (p.bias) y = V::add(y, V::load(p.bias + u * kUnit + c));
          V::store(out + c, y);
        }
      }
    });
  }
}

// x' = g x + (1 - g) relu(t). A pair of units holds t and the carry of the same 16 features.
template <class V>
void highway(const HighwayArgs& p, int64_t pair_begin, int64_t pair_end) {
  using F = typename V::F;
  alignas(64) float tile[kRowBlock * kPanel];
  const F one = V::set1(1.0f);
  for (int64_t q = pair_begin; q < pair_end; q += kGateUnits / 2) {
    const int pairs = static_cast<int>(pair_end - q < kGateUnits / 2 ? pair_end - q : kGateUnits / 2);
    for_each_row_block(p.gemm.rows, [&](int64_t row_begin, int64_t rows) {
      gemm_panel<V>(p.gemm, row_begin, rows, q * 2, pairs * 2, tile);
      for (int64_t r = 0; r < rows; ++r) {
        const float* x = p.gemm.a + (row_begin + r) * p.gemm.lda + q * kUnit;
        float* out = p.out + (row_begin + r) * p.ldo + q * kUnit;
        for (int c = 0; c < pairs * kUnit; c += V::kWidth) {
          const int at = c / kUnit * 2 * kUnit + c % kUnit;  // transform of this feature in the tile
          const float* t = tile + r * kPanel + at;
          const float* bias = p.bias + q * 2 * kUnit + at;
          const F transform = V::max(V::zero(), V::add(V::load(t), V::load(bias)));
          const F gate = sigmoid<V>(V::add(V::load(t + kUnit), V::load(bias + kUnit)));
          V::store(out + c, V::fma(gate, V::load(x + c), V::mul(V::sub(one, gate), transform)));
        }
      }
    });
  }
}

}  // namespace
}  // namespace elmo_fast
