// The weighted sum of a biLM's layers in one pass over memory, without the sentence markers and zero on padding.
//
// Source: Peters et al. 2018, arXiv:1802.05365, equation 1.
#include "cuda/launch.h"
#include "cuda/template_choice.cuh"

namespace elmo_fast {
namespace gpu {
namespace {

constexpr int kThreads = 256;

template <class T>
GPU_KERNEL void scalar_mix_kernel(ScalarMixParams p) {
  const int64_t token = block_x(), row = token / p.num_timesteps;
  const int64_t first = mutated(Mutant::kMixMarkers) ? 0 : 1;
  const int64_t source = row * (p.num_timesteps + 2) + token % p.num_timesteps + first;
  const bool there = holds(Mutant::kMixMask, p.mask[token] != 0);
  const int end = mutated(Mutant::kMixBound) ? p.dim + block_size() : p.dim;
  for (int i = thread(); i < end; i += block_size()) {
    float sum = 0.0f;
#pragma unroll  // an array of parameters is read in place only where its index is known
    for (int k = 0; k < kMostLayers; ++k)
      if (there && k < p.n_layers)
        sum += p.weights[k] * to_float(static_cast<const T*>(p.layers[k])[source * p.dim + i]);
    store(static_cast<T*>(p.out) + token * p.dim + i, sum);
  }
}

}  // namespace

void launch_scalar_mix(Storage storage, const ScalarMixParams& p, void* stream) {
  if (p.batch_size == 0 || p.num_timesteps == 0) return;
  LaunchConfig config;
  config.grid_x = static_cast<unsigned>(static_cast<int64_t>(p.batch_size) * p.num_timesteps);
  config.block = kThreads;
  with_storage(storage, [&](auto type) {
    using T = decltype(type);
    launch("scalar_mix_kernel", scalar_mix_kernel<T>, config, static_cast<Stream>(stream), p);
  });
}

}  // namespace gpu
}  // namespace elmo_fast
