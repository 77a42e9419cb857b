// Sums of int8 products on AVX2, see int8_product-inl.h.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace elmo_fast {
namespace {

// Multiplies int16 pairs; half a unit at a time, so that six rows fit the registers.
struct Avx2Dot {
  using Row = int16_t;
  static constexpr int32_t kOffset = 0;
  static constexpr int kColumns = 8, kVectors = 2, kMaxRows = 6, kMaxUnits = 1;
  // Not __m256i: GCC 12 converts between that and 32-bit lanes around the loop, and then keeps two copies of each sum.
  typedef int32_t Acc __attribute__((vector_size(32)));
  using Weights = __m256i;
  using Values = __m256i;
  static Acc zero() { return Acc{}; }
  static Weights load(const int8_t* p, int v) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + v * 16)));
  }
  static Values broadcast(const Row* p) {
    long long four;
    __builtin_memcpy(&four, p, sizeof four);
    return _mm256_set1_epi64x(four);
  }
  static Acc dot(Acc acc, Weights w, Values x) { return acc + reinterpret_cast<Acc>(_mm256_madd_epi16(w, x)); }
  static void sums(const Acc* acc, int32_t* out) {
    const __m256i s = _mm256_permute4x64_epi64(
        _mm256_hadd_epi32(reinterpret_cast<__m256i>(acc[0]), reinterpret_cast<__m256i>(acc[1])), 0xd8);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), s);
  }
};

}  // namespace
}  // namespace elmo_fast
