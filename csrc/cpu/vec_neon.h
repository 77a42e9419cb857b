// AArch64 Advanced SIMD: 4 floats per register, 32 registers. vec_generic.h specifies each function.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

namespace elmo_fast {
namespace {

struct NeonVec {
  static constexpr int kWidth = 4;
  static constexpr int kMaxAccumulators = 24;  // leaves registers for four weight vectors and a broadcast
  static constexpr int kMaxRows = 6;
  static constexpr bool kPrefetches = true;
  using F = float32x4_t;

  static F set1(float x) { return vdupq_n_f32(x); }
  static F zero() { return vdupq_n_f32(0.0f); }
  static F load(const float* p) { return vld1q_f32(p); }
  static void store(float* p, F a) { vst1q_f32(p, a); }
  static F add(F a, F b) { return vaddq_f32(a, b); }
  static F sub(F a, F b) { return vsubq_f32(a, b); }
  static F mul(F a, F b) { return vmulq_f32(a, b); }
  static F div(F a, F b) { return vdivq_f32(a, b); }
  static F fma(F a, F b, F c) { return vfmaq_f32(c, a, b); }
  // vminq/vmaxq would return a NaN operand; the comparison follows x86's rule.
  static F min(F a, F b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
  static F max(F a, F b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
  static F max_or_nan(F a, F b) { return vbslq_f32(vceqq_f32(a, a), max(a, b), a); }
  static F abs(F a) { return vabsq_f32(a); }
  static F copysign(F magnitude, F sign) { return vbslq_f32(vdupq_n_u32(0x80000000u), sign, magnitude); }
  static F select_less(F a, F b, F x, F y) { return vbslq_f32(vcltq_f32(a, b), x, y); }
  static F pow2_of_biased(F t) {
    const uint32x4_t bits = vaddq_u32(vreinterpretq_u32_f32(t), vdupq_n_u32(127));
    return vreinterpretq_f32_u32(vshlq_n_u32(bits, 23));
  }
  static F load_low_halves(const float* p) {
    return vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(load(p)), 16));
  }
  static F load_high_halves(const float* p) {
    return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(load(p)), vdupq_n_u32(0xffff0000u)));
  }
  static void prefetch(const float* p) { __builtin_prefetch(p, 0, 2); }
};

}  // namespace
}  // namespace elmo_fast
