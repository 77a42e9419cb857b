// One LSTM step as two kernels, both directions in one launch: cells, then outputs. The stream orders the steps.
//
// All weights are read at every step, once per tile of up to 8 rows. Tiles are the fastest index of the grid, so blocks
// that read the same weights run together, and all but the first find them in the L2 cache. There are many blocks, so
// that the memory system is busy even for a single row: at cell_size 4096, 512 of 8 cells and 128 of 4 outputs per
// direction.
#include "cuda/launch.h"
#include "cuda/lstm_cell.cuh"
#include "cuda/template_choice.cuh"

namespace elmo_fast {
namespace gpu {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;

struct LstmStepParams {
  LstmLayerParams layer;
  Step step;  // of direction 0
};

template <class T, int R>
GPU_KERNEL void lstm_cells_kernel(LstmStepParams p) {
  GPU_DYNAMIC_SHARED(shared);
  Step s = p.step;
  s.direction = block_z();
  if (beyond_end(p.layer, s)) return;
  const int first_row = block_x() * R, row_size = padded(p.layer.projection_dim);
  float* staged = piece<float>(shared, 0, static_cast<size_t>(R * row_size));
  const float* h = p.layer.h + static_cast<int64_t>(s.direction) * p.layer.n_rows * row_size;
  stage_rows<R>(h, row_size, first_row, s.n_active, staged);
  sync_block(Mutant::kStageBarrier);
  const int cell = block_y() * kWarps + thread() / kWarp;
  if (!holds(Mutant::kCellBound, cell < p.layer.cell_size)) return;
  const T* w = static_cast<const T*>(p.layer.state_weights[s.direction]) + static_cast<int64_t>(cell) * row_size;
  update_cell<T, R>(p.layer, s, first_row, cell, w, static_cast<int64_t>(p.layer.cell_size) * row_size, staged);
}

template <class T, int R>
GPU_KERNEL void lstm_outputs_kernel(LstmStepParams p) {
  GPU_SHARED(float, partials, kWarps * 4 * R);
  Step s = p.step;
  s.direction = block_z();
  if (beyond_end(p.layer, s)) return;
  const int first_output = 4 * block_y();
  const T* w = static_cast<const T*>(p.layer.projection_weights[s.direction]) +
               static_cast<int64_t>(first_output) * padded(p.layer.cell_size);
  project_outputs<T, R>(p.layer, s, block_x() * R, first_output, w, partials);
}

unsigned ceil_div(int a, int b) { return static_cast<unsigned>((a + b - 1) / b); }

}  // namespace

void launch_lstm_steps(Storage storage, const LstmLayerParams& layer, const int32_t* first_of_step, int first_step,
                       int last_step, void* stream) {
  constexpr size_t kEveryGpuHas = 48 * 1024;  // bytes of shared memory per block
  const size_t row_bytes = static_cast<size_t>(padded(layer.projection_dim)) * sizeof(float);
  if (row_bytes > kEveryGpuHas)
    throw Error("projection_dim: expected at most " + std::to_string(kEveryGpuHas / sizeof(float)) +
                " for the CUDA kernels, got " + std::to_string(layer.projection_dim));
  for (int number = first_step; number < last_step; ++number) {
    const int n_active = first_of_step[number + 1] - first_of_step[number];
    const LstmStepParams p{layer, {number, 0, n_active, first_of_step[number]}};
    int rows = tile_rows(n_active);
    while (rows > 1 && static_cast<size_t>(rows) * row_bytes > kEveryGpuHas) rows = rows == 8 ? 4 : 1;
    LaunchConfig cells, outputs;
    cells.grid_y = ceil_div(layer.cell_size, kWarps);
    outputs.grid_y = ceil_div(layer.projection_dim, 4);
    cells.grid_z = outputs.grid_z = 2;
    cells.grid_x = outputs.grid_x = ceil_div(n_active, rows);
    cells.block = outputs.block = kThreads;
    cells.shared_bytes = static_cast<size_t>(rows) * row_bytes;
    with_storage(storage, [&](auto type) {
      using T = decltype(type);
      with_rows(rows, [&](auto tile) {
        constexpr int R = decltype(tile)::value;
        launch("lstm_cells_kernel", lstm_cells_kernel<T, R>, cells, static_cast<Stream>(stream), p);
        launch("lstm_outputs_kernel", lstm_outputs_kernel<T, R>, outputs, static_cast<Stream>(stream), p);
      });
    });
  }
}

}  // namespace gpu
}  // namespace elmo_fast
