// Sums of int8 products on AVX2, see int8_product-inl.h.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace elmo_fast {
namespace {

// The instruction multiplies unsigned by signed bytes and adds pairs in 16 bits; here it multiplies |w| by x with w's
// sign, which is exact because neither exceeds 127. It uses |w| rather than |x| because all rows of a tile share it.
struct Avx2Dot {
  using Row = int8_t;
  static constexpr int32_t kOffset = 0;
  static constexpr int kVectors = 2, kMaxRows = 5, kMaxUnits = 1;
  // Not __m256i, because GCC 12 converts between that and 32-bit lanes around the loop and keeps two copies of each
  // sum.
  typedef int32_t Acc __attribute__((vector_size(32), may_alias));
  struct Weights {
    __m256i w, magnitude;
  };
  using Values = __m256i;
  static Acc zero() { return Acc{}; }
  static Weights load(const int8_t* p, int v) {
    const __m256i w = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + v * 32));
    return {w, _mm256_abs_epi8(w)};
  }
  static Values broadcast(const Row* p) {
    int four;
    __builtin_memcpy(&four, p, sizeof four);
    return _mm256_set1_epi32(four);
  }
  static Acc dot(Acc acc, Weights w, Values x) {
    const __m256i pairs = _mm256_maddubs_epi16(w.magnitude, _mm256_sign_epi8(x, w.w));
    return acc + reinterpret_cast<Acc>(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
};

}  // namespace
}  // namespace elmo_fast
