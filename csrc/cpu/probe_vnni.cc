// Compiled for AVX-512 with VNNI: products of bytes, summed by fours into 32-bit integers.
#include <immintrin.h>

#include "../probe_tables.h"

namespace elmo_fast {
namespace {

constexpr int kSums = 12;

float probe_bytes(int64_t passes) {
  __m512i sums[kSums];
  for (int i = 0; i < kSums; ++i) sums[i] = _mm512_set1_epi32(i);
  const __m512i a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(-5);
  for (int64_t pass = 0; pass < passes; ++pass) {
#pragma GCC unroll 12
    for (int i = 0; i < kSums; ++i) {
      sums[i] = _mm512_dpbusd_epi32(sums[i], a, b);
      // Wrap-around sums of equal products could be turned into one multiplication.
      __asm__ volatile("" : "+v"(sums[i]));
    }
  }
  for (int i = 1; i < kSums; ++i) sums[0] = _mm512_add_epi32(sums[0], sums[i]);
  int lanes[16];
  _mm512_storeu_si512(lanes, sums[0]);
  return static_cast<float>(lanes[0] ^ lanes[15]);
}

}  // namespace
}  // namespace elmo_fast

extern "C" const elmo_fast::ProbeTable* elmo_fast::elmo_fast_probe_vnni() {
  static constexpr ProbeTable kTable = {{{"vnni_avx512", 2 * kSums * 64, probe_bytes}, {nullptr, 0, nullptr}}, nullptr};
  return &kTable;
}
