// Several vectors used side by side as one, so that their computations advance in lockstep: the chain of dependent
// operations in a sigmoid or tanh is longer than a processor looks ahead, and a single chain would leave most of its
// units idle. vec_generic.h specifies each function.
#pragma once

#include "cpu/always_inline.h"
#include "cpu/kernels.h"

namespace elmo_fast {
namespace {

template <class V, int N>
struct Several {
  struct F {
    typename V::F v[N];
  };

  static ELMO_FAST_INLINE F set1(float x) {
    F y;
#pragma GCC unroll 16
    for (int i = 0; i < N; ++i) y.v[i] = V::set1(x);
    return y;
  }
  static ELMO_FAST_INLINE F zero() { return set1(0.0f); }
  static ELMO_FAST_INLINE F load(const float* p) {
    F y;
#pragma GCC unroll 16
    for (int i = 0; i < N; ++i) y.v[i] = V::load(p + i * V::kWidth);
    return y;
  }
  static ELMO_FAST_INLINE void store(float* p, const F& a) {
#pragma GCC unroll 16
    for (int i = 0; i < N; ++i) V::store(p + i * V::kWidth, a.v[i]);
  }
  static ELMO_FAST_INLINE F add(const F& a, const F& b) { return each(V::add, a, b); }
  static ELMO_FAST_INLINE F sub(const F& a, const F& b) { return each(V::sub, a, b); }
  static ELMO_FAST_INLINE F mul(const F& a, const F& b) { return each(V::mul, a, b); }
  static ELMO_FAST_INLINE F div(const F& a, const F& b) { return each(V::div, a, b); }
  static ELMO_FAST_INLINE F min(const F& a, const F& b) { return each(V::min, a, b); }
  static ELMO_FAST_INLINE F max(const F& a, const F& b) { return each(V::max, a, b); }
  static ELMO_FAST_INLINE F fma(const F& a, const F& b, const F& c) { return each(V::fma, a, b, c); }
  static ELMO_FAST_INLINE F abs(const F& a) { return each(V::abs, a); }
  static ELMO_FAST_INLINE F copysign(const F& a, const F& b) { return each(V::copysign, a, b); }
  static ELMO_FAST_INLINE F select_less(const F& a, const F& b, const F& x, const F& y) {
    return each(V::select_less, a, b, x, y);
  }
  static ELMO_FAST_INLINE F pow2_of_biased(const F& t) { return each(V::pow2_of_biased, t); }

 private:
  template <class Op, class... A>
  static ELMO_FAST_INLINE F each(Op op, const A&... a) {
    F y;
#pragma GCC unroll 16
    for (int i = 0; i < N; ++i) y.v[i] = op(a.v[i]...);
    return y;
  }
};

// All columns of a unit at once.
template <class V>
using UnitOf = Several<V, kUnit / V::kWidth>;

}  // namespace
}  // namespace elmo_fast
