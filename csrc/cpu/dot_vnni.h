// Sums of int8 products with the vpdpbusd instruction, which multiplies unsigned by signed bytes, so 128 is added to
// the rows.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace elmo_fast {
namespace {

inline int four_bytes(const uint8_t* p) {
  int four;
  __builtin_memcpy(&four, p, sizeof four);
  return four;
}

#ifdef __AVX512VNNI__
struct Avx512VnniDot {
  using Row = uint8_t;
  static constexpr int32_t kOffset = 128;
  static constexpr int kVectors = 1, kMaxRows = 12, kMaxUnits = 2;
  typedef int32_t Acc __attribute__((vector_size(64), may_alias));  // not __m512i, see dot_avx2.h
  using Weights = __m512i;
  using Values = __m512i;
  static Acc zero() { return Acc{}; }
  static Weights load(const int8_t* p, int) { return _mm512_loadu_si512(p); }
  static Values broadcast(const Row* p) { return _mm512_set1_epi32(four_bytes(p)); }
  static Acc dot(Acc acc, Weights w, Values x) {
    return reinterpret_cast<Acc>(_mm512_dpbusd_epi32(reinterpret_cast<__m512i>(acc), x, w));
  }
};
#endif

#ifdef __AVXVNNI__
struct Avx2VnniDot {
  using Row = uint8_t;
  static constexpr int32_t kOffset = 128;
  static constexpr int kVectors = 2, kMaxRows = 6, kMaxUnits = 1;
  typedef int32_t Acc __attribute__((vector_size(32), may_alias));  // not __m256i, see dot_avx2.h
  using Weights = __m256i;
  using Values = __m256i;
  static Acc zero() { return Acc{}; }
  static Weights load(const int8_t* p, int v) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + v * 32));
  }
  static Values broadcast(const Row* p) { return _mm256_set1_epi32(four_bytes(p)); }
  static Acc dot(Acc acc, Weights w, Values x) {
    return reinterpret_cast<Acc>(_mm256_dpbusd_avx_epi32(reinterpret_cast<__m256i>(acc), x, w));
  }
};
#endif

}  // namespace
}  // namespace elmo_fast
