// AVX2 + FMA: 8 floats per register, 16 registers. vec_generic.h specifies each function.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace elmo_fast {
namespace {

struct Avx2Vec {
  static constexpr int kWidth = 8;
  static constexpr int kMaxAccumulators = 12;  // leaves registers for two weight vectors and a broadcast
  static constexpr int kMaxRows = 6;
  static constexpr bool kPrefetches = true;
  using F = __m256;

  static F set1(float x) { return _mm256_set1_ps(x); }
  static F zero() { return _mm256_setzero_ps(); }
  static F load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, F a) { _mm256_storeu_ps(p, a); }
  static F add(F a, F b) { return _mm256_add_ps(a, b); }
  static F sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F div(F a, F b) { return _mm256_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static F min(F a, F b) { return _mm256_min_ps(a, b); }
  static F max(F a, F b) { return _mm256_max_ps(a, b); }
  static F max_or_nan(F a, F b) { return _mm256_blendv_ps(max(a, b), a, _mm256_cmp_ps(a, a, _CMP_UNORD_Q)); }
  static F abs(F a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
  static F copysign(F magnitude, F sign) {
    const F mask = _mm256_set1_ps(-0.0f);
    return _mm256_or_ps(_mm256_and_ps(mask, sign), _mm256_andnot_ps(mask, magnitude));
  }
  static F select_less(F a, F b, F x, F y) { return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ)); }
  static F pow2_of_biased(F t) {
    const __m256i bits = _mm256_add_epi32(_mm256_castps_si256(t), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(bits, 23));
  }
  static F load_low_halves(const float* p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(load(p)), 16));
  }
  static F load_high_halves(const float* p) {
    return _mm256_castsi256_ps(_mm256_and_si256(_mm256_castps_si256(load(p)), _mm256_set1_epi32(-65536)));
  }
  static void prefetch(const float* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1); }
};

}  // namespace
}  // namespace elmo_fast
