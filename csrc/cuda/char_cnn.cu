// The character CNN as a table look-up: the contribution of each character at each place of a window to each filter was
// computed when the model was loaded. A block is one word and 256 filters, so that a warp reads a table row in one
// piece.
//
// Source: Kim et al. 2016, arXiv:1508.06615.
#include "cuda/launch.h"
#include "cuda/template_choice.cuh"

namespace elmo_fast {
namespace gpu {
namespace {

constexpr int kThreads = 256;

template <class T>
GPU_KERNEL void char_cnn_kernel(CharCnnParams p) {
  GPU_DYNAMIC_SHARED(shared);
  int* ids = piece<int>(shared, 0, static_cast<size_t>(p.max_characters));
  const int64_t word = block_x();
  for (int i = thread(); i < p.max_characters; i += block_size()) ids[i] = p.char_ids[word * p.max_characters + i];
  sync_block(Mutant::kCharCnnBarrier);
  const int filter = block_y() * block_size() + thread();
  if (!holds(Mutant::kCharCnnFilterBound, filter < p.n_filters)) return;

  bool known = true;
  for (int i = 0; i < p.max_characters; ++i) known = known && ids[i] >= 0 && ids[i] < p.n_ids;
  // From `tail` on all characters are equal, mostly padding, so the first window there has the same sum as all others.
  int tail = p.max_characters - 1;
  while (tail > 0 && ids[tail - 1] == ids[p.max_characters - 1]) --tail;
  if (mutated(Mutant::kCharCnnTail)) --tail;

  int i = 0;
  while (i + 1 < p.n_convolutions && filter >= p.first_filters[i + 1]) ++i;
  const int width = p.widths[i], n_filters = p.first_filters[i + 1] - p.first_filters[i];
  const T* table = static_cast<const T*>(p.tables) + p.table_offsets[i] + (filter - p.first_filters[i]);
  int last = p.max_characters - width;
  if (mutated(Mutant::kCharCnnWindowBound)) last = p.max_characters;
  if (tail < last) last = tail;

  float most = word_to_float(0x7fc00000u);  // NaN
  if (holds(Mutant::kCharCnnIdCheck, known)) {
    for (int start = 0; start <= last; ++start) {
      float sum = 0.0f;
      for (int k = 0; k < width; ++k)
        sum += to_float(table[(static_cast<int64_t>(k) * p.n_ids + ids[start + k]) * n_filters]);
      if (start == 0 || sum > most || sum != sum) most = sum;  // a NaN wins, as in PyTorch's max
    }
  }
  const float x = most + p.bias[filter];
  store(static_cast<T*>(p.out) + word * p.n_filters + filter, p.is_tanh ? tanhf(x) : x < 0.0f ? 0.0f : x);
}

}  // namespace

void launch_char_cnn(Storage storage, const CharCnnParams& p, void* stream) {
  if (p.n == 0) return;
  LaunchConfig config;
  config.grid_x = static_cast<unsigned>(p.n);
  config.grid_y = static_cast<unsigned>((p.n_filters + kThreads - 1) / kThreads);
  config.block = kThreads;
  config.shared_bytes = static_cast<size_t>(p.max_characters) * sizeof(int);
  with_storage(storage, [&](auto type) {
    using T = decltype(type);
    launch("char_cnn_kernel", char_cnn_kernel<T>, config, static_cast<Stream>(stream), p);
  });
}

}  // namespace gpu
}  // namespace elmo_fast
