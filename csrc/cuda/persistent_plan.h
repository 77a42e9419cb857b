// What the persistent LSTM kernel needs: one block per multiprocessor, each of which keeps its cells' weights in shared
// memory for all steps of a direction: the four gate rows of W_h, and the columns of W_P.
//
// The original model (cell_size 4096, projection_dim 512) has 32 cells per block, 128 blocks: 128 KiB of W_h and 32 KiB
// of W_P each, beside 37 KiB of activations. This fits on an H100 (132 multiprocessors, 227 KiB) but not on an A100
// (108, 163 KiB), where the step kernels run instead. The published small and medium models fit on both.
#pragma once

#include <cstddef>

#include "cuda/device.h"

namespace elmo_fast {
namespace gpu {

constexpr int kPersistentWarps = 8;
constexpr int kPersistentRows = 64;        // rows between two meetings of all blocks
constexpr int kTensorCoreCapability = 80;  // the oldest with products of bfloat16, 16 x 8 x 16
constexpr int kTile = 32;                  // projection_dim is padded to a multiple of this

struct PersistentPlan {
  int blocks = 0;  // 0: do not use the kernel
  int groups = 0;  // of 8 cells per block: 1, 2 or 4; depends on the model and the device alone
  int tiles = 0;   // of 8 rows that are multiplied at a time: 1, 2 or 4
  size_t shared_bytes = 0;
};

// Offsets in a block's shared memory, which begins with the fragments of W_h.
struct PersistentLayout {
  size_t projection, m, staged, end;
};
PersistentLayout persistent_layout(int groups, int tiles, int projection_dim);

// Returns the plan for a device and the largest number of rows that run at a step.
//   weight_bytes: 2, else there is no plan: tensor cores multiply float16 and bfloat16.
PersistentPlan plan_persistent(const DeviceProperties& device, int projection_dim, int cell_size, size_t weight_bytes,
                               int n_rows);

// Returns how many rows the kernels without tensor cores multiply at a time.
constexpr int tile_rows(int n_rows) { return n_rows == 1 ? 1 : n_rows <= 4 ? 4 : 8; }

constexpr int padded_to_tile(int n) { return (n + kTile - 1) / kTile * kTile; }

}  // namespace gpu
}  // namespace elmo_fast
