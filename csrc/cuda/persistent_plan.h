// The contents of shared memory in the persistent LSTM kernel: one block per multiprocessor, each with a slice of the
// cells (the four gate rows of W_h) and of the outputs (rows of W_P) that it computes at every step.
//
// The arithmetic for the original model (cell_size 4096, projection_dim 512) in 16 bits and tiles of 8 rows, whose
// activations take 17 KiB. A cell is 4 KiB of W_h, an output 8 KiB of W_P:
//
//   |          | multiprocessors | KiB per block | cells, outputs per block | held: cells, outputs | part held |
//   | H100     |             132 |           227 |               32,      4 |         32,        4 |      1.00 |
//   | A100     |             108 |           163 |               38,      8 |         36,        0 |      0.67 |
//   | RTX 4090 |             128 |            99 |               32,      4 |         20,        0 |      0.50 |
//   | L4       |              58 |            99 |               71,     12 |         20,        0 |      0.21 |
//
// Weights that are not held are read at every step, from the L2 cache if they fit. If less than kWorthwhile is held,
// saving two launches per step does not pay, and launch_lstm_steps, which spreads over more warps, is used instead: on
// the L4, and in float32 for all but small models. tests/gpu_emu/plan_cases.cc has these numbers.
#pragma once

#include <cstddef>

#include "cuda/device.h"

namespace elmo_fast {
namespace gpu {

constexpr double kWorthwhile = 0.5;
constexpr int kPersistentThreads = 256;

struct PersistentPlan {
  int blocks = 0;  // 0: do not use the kernel
  int threads = kPersistentThreads;
  int rows = 0;  // rows per tile: 1, 4 or 8
  int cells_per_block = 0, outputs_per_block = 0;
  int held_cells = 0, held_outputs = 0;  // how many of these are in shared memory
  size_t shared_bytes = 0;
  double held = 0.0;  // held fraction of the recurrent weights
};

// Offsets of the arrays that follow the held cells in a block's shared memory.
struct PersistentLayout {
  size_t outputs, staged, partials;
};
PersistentLayout persistent_layout(const PersistentPlan& plan, int projection_dim, int cell_size, size_t weight_bytes);

// Returns the plan for a device and the largest number of rows that run at a step.
PersistentPlan plan_persistent(const DeviceProperties& device, int projection_dim, int cell_size, size_t weight_bytes,
                               int n_rows, int threads = kPersistentThreads);

// Returns how many rows a kernel multiplies at a time.
constexpr int tile_rows(int n_rows) { return n_rows == 1 ? 1 : n_rows <= 4 ? 4 : 8; }

}  // namespace gpu
}  // namespace elmo_fast
