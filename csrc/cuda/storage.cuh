// The types in which weights and activations are stored. Every kernel computes in float.
#pragma once

#include "cuda/gpu.cuh"

namespace elmo_fast {
namespace gpu {

struct Half {
  uint16_t bits;
};
struct Bfloat16 {
  uint16_t bits;
};

GPU_DEVICE float to_float(float x) { return x; }
GPU_DEVICE float to_float(Half x) { return half_to_float(x.bits); }
GPU_DEVICE float to_float(Bfloat16 x) { return word_to_float(static_cast<uint32_t>(x.bits) << 16); }

GPU_DEVICE void store(float* p, float x) { *p = x; }
GPU_DEVICE void store(Half* p, float x) { p->bits = float_to_half(x); }
GPU_DEVICE void store(Bfloat16* p, float x) {  // rounds to nearest, ties to even; a NaN stays a NaN
  const uint32_t u = float_to_word(x);
  const uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  p->bits = static_cast<uint16_t>((u & 0x7fffffffu) > 0x7f800000u ? (u >> 16) | 0x40u : rounded);
}

GPU_DEVICE void multiply_add(Half, float (&d)[4], const Words4& a, uint32_t b0, uint32_t b1) {
  multiply_fragments<Operand::kFloat16>(d, a, b0, b1);
}
GPU_DEVICE void multiply_add(Bfloat16, float (&d)[4], const Words4& a, uint32_t b0, uint32_t b1) {
  multiply_fragments<Operand::kBfloat16>(d, a, b0, b1);
}

// The number of values in 16 bytes, the widest load.
template <class T>
constexpr int kVector = 16 / static_cast<int>(sizeof(T));

GPU_DEVICE void load_vector(const float* p, float (&x)[4]) {
  const Floats4 v = *reinterpret_cast<const Floats4*>(p);
  x[0] = v.x, x[1] = v.y, x[2] = v.z, x[3] = v.w;
}

template <class T>
GPU_DEVICE void load_vector(const T* p, float (&x)[8]) {
  const Words4 v = *reinterpret_cast<const Words4*>(p);
  const uint32_t words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    x[2 * i] = to_float(T{static_cast<uint16_t>(words[i] & 0xffffu)});
    x[2 * i + 1] = to_float(T{static_cast<uint16_t>(words[i] >> 16)});
  }
}

GPU_DEVICE float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

}  // namespace gpu
}  // namespace elmo_fast
