// Rounding to bfloat16 and int8, as used by the packing and by every kernel: to nearest, ties to even.
//
// This is compiled into the instruction-set units too, so it includes no standard header with functions and has
// internal linkage.
#pragma once

#include <cstdint>

namespace elmo_fast {
namespace {

inline uint32_t bits_of(float x) {
  uint32_t u;
  __builtin_memcpy(&u, &x, sizeof u);
  return u;
}

inline float float_of(uint32_t u) {
  float x;
  __builtin_memcpy(&x, &u, sizeof x);
  return x;
}

// Rounds to the upper half of a float; a NaN stays a NaN.
inline uint16_t to_bfloat16(float x) {
  const uint32_t u = bits_of(x);
  const uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  const uint32_t quiet = (u >> 16) | 0x40u;
  return static_cast<uint16_t>((u & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
}

inline float from_bfloat16(uint16_t h) { return float_of(static_cast<uint32_t>(h) << 16); }

// Splits x into a sum of kTerms bfloat16 numbers, largest first; three hold every bit of a float. A term after an
// infinite or NaN one is zero.
template <int kTerms>
inline void split_bfloat16(float x, uint16_t* terms) {
#pragma GCC unroll 3
  for (int i = 0; i < kTerms; ++i) {
    terms[i] = to_bfloat16(x);
    const float rest = x - from_bfloat16(terms[i]);
    x = (terms[i] & 0x7f80u) == 0x7f80u ? 0.0f : rest;
  }
}

constexpr float kInt8Max = 127.0f;

// Returns the integer nearest to a value of magnitude below 2^22; for NaN an arbitrary but defined value.
inline int32_t nearest_integer(float x) {
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: the sum's low bits are the integer
  return static_cast<int32_t>(bits_of(x + kMagic)) - 0x4b400000;
}

}  // namespace
}  // namespace elmo_fast
