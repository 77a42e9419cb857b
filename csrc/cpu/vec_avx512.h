// AVX-512F: 16 floats per register, 32 registers. vec_generic.h specifies each function.
#pragma once

// A test compiles this file with portable stand-ins for the intrinsics, so that it is checked on any machine.
#ifndef ELMO_FAST_INTRINSICS_PROVIDED
#include <immintrin.h>
#endif

#include <cstddef>
#include <cstdint>

namespace elmo_fast {
namespace {

struct Avx512Vec {
  static constexpr int kWidth = 16;
  static constexpr int kMaxAccumulators = 28;  // leaves registers for two to four weight vectors
  static constexpr int kMaxRows = 14;
  static constexpr bool kPrefetches = true;
  using F = __m512;

  static F set1(float x) { return _mm512_set1_ps(x); }
  static F zero() { return _mm512_setzero_ps(); }
  static F load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, F a) { _mm512_storeu_ps(p, a); }
  static F add(F a, F b) { return _mm512_add_ps(a, b); }
  static F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F div(F a, F b) { return _mm512_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F min(F a, F b) { return _mm512_min_ps(a, b); }
  static F max(F a, F b) { return _mm512_max_ps(a, b); }
  static F max_or_nan(F a, F b) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), max(a, b), a); }
  static F abs(F a) {
    return _mm512_castsi512_ps(_mm512_and_epi32(_mm512_castps_si512(a), _mm512_set1_epi32(0x7fffffff)));
  }
  static F copysign(F magnitude, F sign) {
    const __m512i mask = _mm512_set1_epi32(INT32_MIN);
    return _mm512_castsi512_ps(_mm512_or_epi32(_mm512_and_epi32(mask, _mm512_castps_si512(sign)),
                                               _mm512_andnot_epi32(mask, _mm512_castps_si512(magnitude))));
  }
  static F select_less(F a, F b, F x, F y) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x); }
  static F pow2_of_biased(F t) {
    const __m512i bits = _mm512_add_epi32(_mm512_castps_si512(t), _mm512_set1_epi32(127));
    return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 23));
  }
  static F load_low_halves(const float* p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(load(p)), 16));
  }
  static F load_high_halves(const float* p) {
    return _mm512_castsi512_ps(_mm512_and_epi32(_mm512_castps_si512(load(p)), _mm512_set1_epi32(-65536)));
  }
  static void prefetch(const float* p) { __builtin_prefetch(p, 0, 2); }
};

}  // namespace
}  // namespace elmo_fast
