// CUDA's execution model on a host compiler, for the kernels of csrc/cuda/: see README.md in this folder.
//
// Each CUDA thread is a fiber. It runs until it reaches a barrier or a shuffle; then another one runs, in an order that
// the schedule determines. Nothing here says anything about speed.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>

#include "cuda/device.h"
#include "cuda/mutants.h"

#define GPU_KERNEL
#define GPU_DEVICE inline
#define GPU_SHARED(type, name, n)           \
  static const char name##_declaration = 0; \
  type* const name = static_cast<type*>(::elmo_fast::gpu::shared_array(&name##_declaration, sizeof(type) * (n)))
#define GPU_DYNAMIC_SHARED(name) char* const name = nullptr

namespace elmo_fast {
namespace gpu {

using Stream = void*;
struct alignas(16) Words4 {
  uint32_t x, y, z, w;
};
struct alignas(16) Floats4 {
  float x, y, z, w;
};

// --- used by fibers

struct Position {
  int thread, block_size, block_x, block_y, block_z;
};
Position position();  // a copy, so that no kernel reads the emulator's memory, which would look like a race
void block_barrier();
void grid_barrier();
float shuffle_xor(float value, int bits);
inline Words4 load_exchanged(const Words4* p) { return *p; }
inline Floats4 load_exchanged(const Floats4* p) { return *p; }

enum class Operand { kFloat16, kBfloat16 };
// Exact products and float32 sums of a warp's fragments, laid out as csrc/cuda/gpu.cuh describes.
void multiply_fragments(Operand operand, float (&d)[4], const Words4& a, uint32_t b0, uint32_t b1);
template <Operand kOperand>
void multiply_fragments(float (&d)[4], const Words4& a, uint32_t b0, uint32_t b1) {
  multiply_fragments(kOperand, d, a, b0, b1);
}
// Shared memory of this declaration: exactly this many bytes, filled with 0xff, so that reading a value that was never
// written gives NaN, and reading beyond the end is found by AddressSanitizer.
void* shared_array(const void* declaration, size_t bytes);
void* dynamic_array(size_t offset, size_t bytes);

inline int thread() { return position().thread; }
inline int block_size() { return position().block_size; }
inline int block_x() { return position().block_x; }
inline int block_y() { return position().block_y; }
inline int block_z() { return position().block_z; }

template <class T>
T* piece(char*, size_t offset, size_t n) {
  return static_cast<T*>(dynamic_array(offset, n * sizeof(T)));
}

extern Mutant active_mutant;
inline bool mutated(Mutant m) { return active_mutant == m; }

inline float word_to_float(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
inline uint32_t float_to_word(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof x);
  return bits;
}
float half_to_float(uint16_t bits);
uint16_t float_to_half(float x);

inline float expf(float x) { return std::exp(x); }
inline float tanhf(float x) { return std::tanh(x); }

// --- used by launchers

void run_grid(const char* name, const LaunchConfig& config, void (*run_thread)(const void*), const void* call);

template <class Params>
void launch(const char* name, void (*kernel)(Params), const LaunchConfig& config, Stream, const Params& params) {
  const struct Call {
    void (*kernel)(Params);
    const Params& params;
  } call{kernel, params};
  run_grid(
      name, config, [](const void* p) { static_cast<const Call*>(p)->kernel(static_cast<const Call*>(p)->params); },
      &call);
}

int warm_up(const LaunchConfig& config);  // returns the blocks that fit a multiprocessor

template <class Params>
int allow_shared(const char*, void (*)(Params), const LaunchConfig& config, size_t, int) {
  return warm_up(config);
}

int count_devices();
DeviceProperties query_device(int device);
int current_device();
void choose_device(int device);

// --- used by tests

// The order in which the threads of a block, and the blocks, take turns between two barriers.
enum class Schedule { kInOrder, kReverse, kRandom };
void set_schedule(Schedule schedule, uint64_t seed = 0);
void set_device(const DeviceProperties& device);

// The number of calls so far, by kind; a forward pass may only launch.
struct Counters {
  long launches = 0, warm_ups = 0, queries = 0;
};
extern Counters counters;

}  // namespace gpu
}  // namespace elmo_fast
