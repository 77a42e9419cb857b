// Sigmoid and tanh: the same operations in the same order on every instruction set.
//
// Relative error at most 2e-7 where the result is a normal number (tests/native/math_test.cc walks the floats).
// Only fused multiply-adds, additions, true divisions and bit operations: no approximate reciprocals, which differ
// between processors. The coefficients are minimax fits to the stated intervals.
#pragma once

#include "cpu/always_inline.h"

namespace elmo_fast {
namespace {

// e^x for |x| <= 88. x = n ln 2 + r; e^r = 1 + r + r^2 q(r) on |r| <= ln(2) / 2 with a fit error of 3.3e-9.
// ln 2 is split so that n * hi is exact. NaN gives NaN.
template <class V>
ELMO_FAST_INLINE typename V::F exp_bounded(typename V::F x) {
  using F = typename V::F;
  const F bias = V::set1(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer, ties to even
  const F t = V::fma(x, V::set1(1.44269504f), bias);
  const F n = V::sub(t, bias);
  F r = V::fma(n, V::set1(-0.693359375f), x);
  r = V::fma(n, V::set1(2.12194440e-4f), r);
  F q = V::fma(V::set1(0.0013813144760206342f), r, V::set1(0.008369418792426586f));
  q = V::fma(q, r, V::set1(0.04166845604777336f));
  q = V::fma(q, r, V::set1(0.16666515171527863f));
  q = V::fma(q, r, V::set1(0.4999999403953552f));
  const F p = V::fma(V::mul(r, r), q, r);
  return V::mul(V::add(p, V::set1(1.0f)), V::pow2_of_biased(t));
}

// 1 / (1 + e^-x). Beyond the bound of 88 the result is no longer a normal number. The operand order of max and min lets
// a NaN through.
template <class V>
ELMO_FAST_INLINE typename V::F sigmoid(typename V::F x) {
  using F = typename V::F;
  const F one = V::set1(1.0f);
  const F minus = V::min(V::set1(88.0f), V::max(V::set1(-88.0f), V::sub(V::zero(), x)));
  return V::div(one, V::add(one, exp_bounded<V>(minus)));
}

// Near zero x + x^3 P(x^2) (fit error 4.4e-9 on |x| < 0.625), else 1 - 2 / (e^2|x| + 1) with x's sign.
template <class V>
ELMO_FAST_INLINE typename V::F tanh(typename V::F x) {
  using F = typename V::F;
  const F one = V::set1(1.0f);
  const F magnitude = V::abs(x);
  const F e = exp_bounded<V>(V::min(V::set1(20.0f), V::add(magnitude, magnitude)));
  const F far = V::copysign(V::sub(one, V::div(V::set1(2.0f), V::add(e, one))), x);
  const F x2 = V::mul(x, x);
  F p = V::fma(V::set1(-0.005704986862838268f), x2, V::set1(0.0206390880048275f));
  p = V::fma(p, x2, V::set1(-0.05373971536755562f));
  p = V::fma(p, x2, V::set1(0.13331441581249237f));
  p = V::fma(p, x2, V::set1(-0.3333328068256378f));
  const F near = V::fma(V::mul(p, x2), x, x);
  return V::select_less(magnitude, V::set1(0.625f), near, far);
}

// clamp(x, -bound, bound); a NaN stays a NaN, as in torch.clamp.
template <class V>
ELMO_FAST_INLINE typename V::F clip(typename V::F x, typename V::F bound) {
  return V::min(bound, V::max(V::sub(V::zero(), bound), x));
}

}  // namespace
}  // namespace elmo_fast
