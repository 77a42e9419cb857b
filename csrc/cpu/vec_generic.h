// The specification: plain scalar code that every other Vec must equal bit for bit.
//
// A Vec is a set of static functions over a register type F of kWidth floats:
//   fma(a, b, c) is a * b + c, rounded once; min(a, b) is (a < b) ? a : b and max(a, b) is (a > b) ? a : b, so a NaN in
//   either gives b; max_or_nan(a, b) is NaN if either is; select_less(a, b, x, y) is (a < b) ? x : y; pow2_of_biased(t)
//   reads n from t = n + 1.5 * 2^23 and returns 2^n for -126 <= n <= 127; load_low_halves and load_high_halves widen
//   the first or the second bfloat16 of each of kWidth pairs.
// kMaxAccumulators is the number of registers that a tile may occupy, kMaxRows the number of rows of the largest tile;
// kPrefetches says whether prefetch() does anything.
#pragma once

#include "cpu/kernels.h"

namespace elmo_fast {
namespace {

template <int kLanes>
struct GenericVec {
  static constexpr int kWidth = kLanes;
  static constexpr int kMaxAccumulators = 4 * kUnit / kLanes;
  static constexpr int kMaxRows = 3;
  static constexpr bool kPrefetches = false;
  struct F {
    float v[kLanes];
  };

  template <class Op>
  static F map(Op op) {
    F r;
    for (int i = 0; i < kLanes; ++i) r.v[i] = op(i);
    return r;
  }
  static F set1(float x) {
    return map([&](int) { return x; });
  }
  static F zero() { return set1(0.0f); }
  static F load(const float* p) {
    return map([&](int i) { return p[i]; });
  }
  static void store(float* p, F a) {
    for (int i = 0; i < kLanes; ++i) p[i] = a.v[i];
  }
  static F add(F a, F b) {
    return map([&](int i) { return a.v[i] + b.v[i]; });
  }
  static F sub(F a, F b) {
    return map([&](int i) { return a.v[i] - b.v[i]; });
  }
  static F mul(F a, F b) {
    return map([&](int i) { return a.v[i] * b.v[i]; });
  }
  static F div(F a, F b) {
    return map([&](int i) { return a.v[i] / b.v[i]; });
  }
  static F fma(F a, F b, F c) {
    return map([&](int i) { return __builtin_fmaf(a.v[i], b.v[i], c.v[i]); });
  }
  static F min(F a, F b) {
    return map([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
  }
  static F max(F a, F b) {
    return map([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
  }
  static F max_or_nan(F a, F b) {
    return map([&](int i) { return a.v[i] > b.v[i] || a.v[i] != a.v[i] ? a.v[i] : b.v[i]; });
  }
  static F abs(F a) {
    return map([&](int i) { return __builtin_fabsf(a.v[i]); });
  }
  static F copysign(F magnitude, F sign) {
    return map([&](int i) { return __builtin_copysignf(magnitude.v[i], sign.v[i]); });
  }
  static F select_less(F a, F b, F x, F y) {
    return map([&](int i) { return a.v[i] < b.v[i] ? x.v[i] : y.v[i]; });
  }
  static F pow2_of_biased(F t) {
    return map([&](int i) {
      uint32_t bits;
      __builtin_memcpy(&bits, &t.v[i], sizeof bits);
      bits = (bits + 127u) << 23;  // the bias 1.5 * 2^23 has zeros in the low bits that survive the shift
      float r;
      __builtin_memcpy(&r, &bits, sizeof r);
      return r;
    });
  }
  static F load_low_halves(const float* p) {
    return map([&](int i) { return half(p + i, 16); });
  }
  static F load_high_halves(const float* p) {
    return map([&](int i) { return half(p + i, 0); });
  }
  static void prefetch(const float*) {}

 private:
  static float half(const float* p, int shift) {
    uint32_t bits;
    __builtin_memcpy(&bits, p, sizeof bits);
    bits = (bits << shift) & 0xffff0000u;
    float r;
    __builtin_memcpy(&r, &bits, sizeof r);
    return r;
  }
};

}  // namespace
}  // namespace elmo_fast
