// The gates of a highway layer, applied after the dense product of both of its halves.
//
// Source: Srivastava et al. 2015, arXiv:1505.00387.
#include "cuda/launch.h"
#include "cuda/template_choice.cuh"

namespace elmo_fast {
namespace gpu {
namespace {

constexpr int kThreads = 256;

template <class T>
GPU_KERNEL void highway_kernel(HighwayParams p) {
  const int64_t i = static_cast<int64_t>(block_x()) * block_size() + thread();
  if (!holds(Mutant::kHighwayBound, i < p.n * p.size)) return;
  const int64_t row = i / p.size;
  const T* gates = static_cast<const T*>(p.gates) + row * 2 * p.size + (i - row * p.size);
  const float x = to_float(static_cast<const T*>(p.x)[i]);
  const float transform = to_float(gates[0]);
  const float carry = sigmoid(to_float(gates[p.size]));
  store(static_cast<T*>(p.out) + i, carry * x + (1.0f - carry) * (transform < 0.0f ? 0.0f : transform));
}

}  // namespace

void launch_highway(Storage storage, const HighwayParams& p, void* stream) {
  if (p.n == 0) return;
  LaunchConfig config;
  config.grid_x = static_cast<unsigned>((p.n * p.size + kThreads - 1) / kThreads);
  config.block = kThreads;
  with_storage(storage, [&](auto type) {
    using T = decltype(type);
    launch("highway_kernel", highway_kernel<T>, config, static_cast<Stream>(stream), p);
  });
}

}  // namespace gpu
}  // namespace elmo_fast
