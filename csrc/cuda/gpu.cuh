// The only seam between the kernels and what runs them: CUDA under nvcc, or the emulator of tests/gpu_emu/ under a host
// compiler. No other file of this folder depends on which of the two it is.
//
// A kernel is a function of one plain struct. It uses the thread and block numbers, barriers, shuffles and shared
// memory defined here, computes in float, and has no inline assembly.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "cuda/device.h"
#include "cuda/mutants.h"

namespace elmo_fast {
namespace gpu {

constexpr int kWarp = 32;

struct LaunchConfig {
  unsigned grid_x = 1, grid_y = 1, grid_z = 1;
  unsigned block = 1;       // threads
  size_t shared_bytes = 0;  // dynamic
  bool cooperative = false;
};

}  // namespace gpu
}  // namespace elmo_fast

#ifdef ELMO_FAST_GPU_EMULATION
#include "gpu_emulation.h"
#else

#include <cooperative_groups.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#define GPU_KERNEL __global__
#define GPU_DEVICE __device__ __forceinline__
#define GPU_SHARED(type, name, n) __shared__ type name[n]
// Dynamic shared memory, of which gpu::piece takes arrays.
#define GPU_DYNAMIC_SHARED(name) extern __shared__ __align__(16) char name[]

namespace elmo_fast {
namespace gpu {

using Stream = cudaStream_t;
using Words4 = uint4;
using Floats4 = float4;

GPU_DEVICE constexpr bool mutated(Mutant) { return false; }

GPU_DEVICE int thread() { return static_cast<int>(threadIdx.x); }
GPU_DEVICE int block_size() { return static_cast<int>(blockDim.x); }
GPU_DEVICE int block_x() { return static_cast<int>(blockIdx.x); }
GPU_DEVICE int block_y() { return static_cast<int>(blockIdx.y); }
GPU_DEVICE int block_z() { return static_cast<int>(blockIdx.z); }

GPU_DEVICE void block_barrier() { __syncthreads(); }
GPU_DEVICE void grid_barrier() { cooperative_groups::this_grid().sync(); }
// Returns the value of the lane whose number differs in `bits`; all 32 lanes take part.
GPU_DEVICE float shuffle_xor(float value, int bits) { return __shfl_xor_sync(0xffffffffu, value, bits); }

template <class T>
GPU_DEVICE T* piece(char* shared, size_t offset, size_t) {
  return reinterpret_cast<T*>(shared + offset);
}

// Reads what another block wrote before a grid barrier: past the L1 cache, which is not coherent.
GPU_DEVICE Words4 load_exchanged(const Words4* p) { return __ldcg(p); }
GPU_DEVICE Floats4 load_exchanged(const Floats4* p) { return __ldcg(p); }

enum class Operand { kFloat16, kBfloat16 };

// d += a b on tensor cores, of a warp's fragments: a 16 x 16, b 16 x 8, d 16 x 8. Lane l has, of a, rows l / 4 and
// l / 4 + 8 (x, z: the first; y, w: the second), of b column l / 4, each at k = 2 (l % 4) and the next (x, y, b0), and
// 8 further (z, w, b1); and of d rows l / 4 and l / 4 + 8, columns 2 (l % 4) and the next.
template <Operand kOperand>
GPU_DEVICE void multiply_fragments(float (&d)[4], const Words4& a, uint32_t b0, uint32_t b1) {
#if __CUDA_ARCH__ >= 800
  if constexpr (kOperand == Operand::kFloat16)
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b0), "r"(b1));
  else
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b0), "r"(b1));
#else
  __trap();  // no plan has this kernel on an older device
#endif
}

GPU_DEVICE float half_to_float(uint16_t bits) { return __half2float(__ushort_as_half(bits)); }
GPU_DEVICE uint16_t float_to_half(float x) { return __half_as_ushort(__float2half_rn(x)); }
GPU_DEVICE float word_to_float(uint32_t bits) { return __uint_as_float(bits); }
GPU_DEVICE uint32_t float_to_word(float x) { return __float_as_uint(x); }

inline void check(cudaError_t status, const std::string& what) {
  if (status != cudaSuccess) throw Error(what + ": " + cudaGetErrorName(status) + ": " + cudaGetErrorString(status));
}

template <class Params>
void launch(const char* name, void (*kernel)(Params), const LaunchConfig& config, Stream stream, const Params& params) {
  cudaLaunchConfig_t c = {};
  c.gridDim = dim3(config.grid_x, config.grid_y, config.grid_z);
  c.blockDim = dim3(config.block);
  c.dynamicSmemBytes = config.shared_bytes;
  c.stream = stream;
  cudaLaunchAttribute cooperative;
  cooperative.id = cudaLaunchAttributeCooperative;
  cooperative.val.cooperative = 1;
  c.attrs = &cooperative;
  c.numAttrs = config.cooperative ? 1 : 0;
  check(cudaLaunchKernelEx(&c, kernel, params), std::string("launching ") + name);
}

// Lets a kernel use all dynamic shared memory of the device (the limit belongs to the kernel, which models of several
// sizes share), and returns how many of its blocks fit on a multiprocessor at a time. Call it during warm-up: it may
// load the module.
//   oldest: the capability that the kernel must have been compiled for. The driver compiles older code for newer
//   devices, but what such code leaves out stays left out.
template <class Params>
int allow_shared(const char* name, void (*kernel)(Params), const LaunchConfig& config, size_t most, int oldest) {
  const auto* f = reinterpret_cast<const void*>(kernel);
  cudaFuncAttributes attributes;
  check(cudaFuncGetAttributes(&attributes, f), std::string("asking for the attributes of ") + name);
  if (attributes.ptxVersion < oldest)
    throw Error(std::string(name) + ": expected code for compute capability " + std::to_string(oldest / 10) + "." +
                std::to_string(oldest % 10) + " or newer, got " + std::to_string(attributes.ptxVersion / 10) + "." +
                std::to_string(attributes.ptxVersion % 10) +
                "; install again on this machine, or with ELMO_FAST_CUDA_ARCHS=all");
  check(cudaFuncSetAttribute(f, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(most)),
        std::string("asking for shared memory for ") + name);
  int blocks = 0;
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, f, static_cast<int>(config.block), config.shared_bytes),
        std::string("asking for the occupancy of ") + name);
  return blocks;
}

// Devices of this process; see device.h, which the .cc files use.
inline int count_devices() {
  int n = 0;
  return cudaGetDeviceCount(&n) == cudaSuccess ? n : (cudaGetLastError(), 0);
}

inline DeviceProperties query_device(int device) {
  cudaDeviceProp p;
  check(cudaGetDeviceProperties(&p, device), "asking for the properties of CUDA device " + std::to_string(device));
  return {p.name, 10 * p.major + p.minor, p.multiProcessorCount, p.sharedMemPerBlockOptin, p.cooperativeLaunch != 0};
}

inline int current_device() {
  int device = 0;
  check(cudaGetDevice(&device), "asking for the current CUDA device");
  return device;
}

inline void choose_device(int device) {
  check(cudaSetDevice(device), "choosing CUDA device " + std::to_string(device));
}

}  // namespace gpu
}  // namespace elmo_fast

#endif

namespace elmo_fast {
namespace gpu {

GPU_DEVICE void sync_block(Mutant without) {
  if (!mutated(without)) block_barrier();
}

GPU_DEVICE void sync_grid(Mutant without) {
  if (!mutated(without)) grid_barrier();
}

// A condition that a mutant assumes to be true.
GPU_DEVICE bool holds(Mutant always, bool condition) { return condition || mutated(always); }

}  // namespace gpu
}  // namespace elmo_fast
