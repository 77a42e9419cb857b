// What a persistent LSTM kernel keeps in shared memory: one block a multiprocessor, each with a slice of the cells (the
// four gate rows of W_h) and of the outputs (rows of W_P) that it computes at every step.
//
// The arithmetic for the original model (cell_size 4096, projection_dim 512) in 16 bits and tiles of 8 rows, whose
// activations take 17 KiB. A cell is 4 KiB of W_h, an output 8 KiB of W_P:
//
//   |          | multiprocessors | KiB a block | cells, outputs a block | held: cells, outputs | part held |
//   | H100     |             132 |         227 |             32,      4 |         32,        4 |      1.00 |
//   | A100     |             108 |         163 |             38,      8 |         36,        0 |      0.67 |
//   | RTX 4090 |             128 |          99 |             32,      4 |         20,        0 |      0.50 |
//   | L4       |              58 |          99 |             71,     12 |         20,        0 |      0.21 |
//
// What is not held is read at every step, from the L2 cache where it fits that. Below kWorthwhile the two launches a
// step cost less than they bring, and launch_lstm_steps, which spreads over more warps, is used: L4, and everything in
// float32 but small models. tests/gpu_emu/plan_test.cc has these numbers.
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
  int rows = 0;  // of a tile: 1, 4 or 8
  int cells_per_block = 0, outputs_per_block = 0;
  int held_cells = 0, held_outputs = 0;  // of these, in shared memory
  size_t shared_bytes = 0;
  double held = 0.0;  // part of the recurrent weights
};

// Offsets of the arrays in a block's shared memory, behind the held cells.
struct PersistentLayout {
  size_t outputs, staged, partials;
};
PersistentLayout persistent_layout(const PersistentPlan& plan, int projection_dim, int cell_size, size_t weight_bytes);

// The plan for a device, with the largest number of rows that run at a step.
PersistentPlan plan_persistent(const DeviceProperties& device, int projection_dim, int cell_size, size_t weight_bytes,
                               int n_rows, int threads = kPersistentThreads);

// Rows that a kernel multiplies at a time.
constexpr int tile_rows(int n_rows) { return n_rows == 1 ? 1 : n_rows <= 4 ? 4 : 8; }

}  // namespace gpu
}  // namespace elmo_fast
