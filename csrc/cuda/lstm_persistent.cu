// All steps of one direction of a layer in one cooperative launch. Each block keeps its slice of the recurrent weights
// in shared memory for all steps (persistent_plan.h) and meets the others twice a step.
//
// Source: the idea of persistent recurrent weights: Diamos et al. 2016, "Persistent RNNs".
#include "cuda/launch.h"
#include "cuda/lstm_cell.cuh"
#include "cuda/template_choice.cuh"

namespace elmo_fast {
namespace gpu {
namespace {

struct LstmPersistentParams {
  LstmLayerParams layer;
  const int32_t* first_of_step;
  int direction, first_step, last_step;
  int cells_per_block, outputs_per_block, held_cells, held_outputs;
  PersistentLayout at;
};

GPU_DEVICE int smaller(int a, int b) { return a < b ? a : b; }

template <class T>
GPU_DEVICE void copy_row(const T* from, T* to, int size) {
  for (int i = thread() * kVector<T>; i < size; i += block_size() * kVector<T>)
    *reinterpret_cast<Words4*>(to + i) = *reinterpret_cast<const Words4*>(from + i);
}

template <class T, int R>
GPU_KERNEL void lstm_persistent_kernel(LstmPersistentParams p) {
  GPU_DYNAMIC_SHARED(shared);
  const LstmLayerParams& layer = p.layer;
  const int d = p.direction, h_size = padded(layer.projection_dim), m_size = padded(layer.cell_size);
  const int warp = thread() / kWarp, n_warps = block_size() / kWarp;
  const int first_cell = block_x() * p.cells_per_block, first_output = block_x() * p.outputs_per_block;
  const int n_cells = smaller(p.cells_per_block, layer.cell_size - first_cell);
  const int n_outputs = smaller(p.outputs_per_block, layer.projection_dim - first_output);
  const T* state_weights = static_cast<const T*>(layer.state_weights[d]);
  const T* projection_weights = static_cast<const T*>(layer.projection_weights[d]);
  const int64_t gate_stride = static_cast<int64_t>(layer.cell_size) * h_size;

  T* cells = piece<T>(shared, 0, static_cast<size_t>(p.held_cells) * 4 * h_size);
  T* outputs = piece<T>(shared, p.at.outputs, static_cast<size_t>(p.held_outputs) * m_size);
  float* staged = piece<float>(shared, p.at.staged, static_cast<size_t>(R * h_size));
  float* partials = piece<float>(shared, p.at.partials, static_cast<size_t>(n_warps * 4 * R));
  for (int i = 0; i < 4 * smaller(p.held_cells, n_cells); ++i)
    copy_row(state_weights + i % 4 * gate_stride + static_cast<int64_t>(first_cell + i / 4) * h_size,
             cells + static_cast<int64_t>(i) * h_size, h_size);
  for (int i = 0; i < smaller(p.held_outputs, n_outputs); ++i)
    copy_row(projection_weights + static_cast<int64_t>(first_output + i) * m_size,
             outputs + static_cast<int64_t>(i) * m_size, m_size);
  // No barrier is needed here: the first rows of h are staged, followed by one, before the held weights are read.

  for (int number = p.first_step; number < p.last_step; ++number) {
    const int64_t first_token = p.first_of_step[number];
    const Step s{number, d, static_cast<int>(p.first_of_step[number + 1] - first_token), first_token};
    for (int first_row = 0; first_row < s.n_active; first_row += R) {
      stage_rows<R>(layer.h + static_cast<int64_t>(d) * layer.n_rows * h_size, h_size, first_row, s.n_active, staged);
      sync_block(Mutant::kStageBarrier);
      for (int i = warp; i < n_cells; i += n_warps) {
        const int cell = first_cell + i;
        const bool held = holds(Mutant::kHeldBound, i < p.held_cells);
        const T* w =
            held ? cells + static_cast<int64_t>(i) * 4 * h_size : state_weights + static_cast<int64_t>(cell) * h_size;
        update_cell<T, R>(layer, s, first_row, cell, w, held ? h_size : gate_stride, staged);
      }
      sync_block(Mutant::kStageReuseBarrier);
    }
    sync_grid(Mutant::kGridSyncCells);
    for (int first_row = 0; first_row < s.n_active; first_row += R) {
      for (int i = 0; i < n_outputs; i += 4) {
        // Whole groups of four are held; project_outputs reads no row beyond the last output.
        const T* w = i < p.held_outputs ? outputs + static_cast<int64_t>(i) * m_size
                                        : projection_weights + static_cast<int64_t>(first_output + i) * m_size;
        project_outputs<T, R>(layer, s, first_row, first_output + i, w, partials);
        sync_block(Mutant::kPartialsReuseBarrier);
      }
    }
    sync_grid(Mutant::kGridSyncOutputs);
  }
}

LaunchConfig config_of(const PersistentPlan& plan) {
  LaunchConfig config;
  config.grid_x = static_cast<unsigned>(plan.blocks);
  config.block = static_cast<unsigned>(plan.threads);
  config.shared_bytes = plan.shared_bytes;
  config.cooperative = true;
  return config;
}

}  // namespace

void prepare_persistent(Storage storage, const PersistentPlan& plan, const DeviceProperties& device) {
  with_storage(storage, [&](auto type) {
    using T = decltype(type);
    with_rows(plan.rows, [&](auto tile) {
      constexpr int R = decltype(tile)::value;
      const int fit =
          allow_shared("lstm_persistent_kernel", lstm_persistent_kernel<T, R>, config_of(plan), device.shared_bytes);
      if (fit * device.multiprocessors < plan.blocks)
        throw Error("lstm_persistent_kernel: expected room for " + std::to_string(plan.blocks) + " blocks on " +
                    device.name + ", got " + std::to_string(fit * device.multiprocessors));
    });
  });
}

void launch_lstm_persistent(Storage storage, const LstmLayerParams& layer, const PersistentPlan& plan,
                            const int32_t* first_of_step, int first_step, int last_step, void* stream) {
  with_storage(storage, [&](auto type) {
    using T = decltype(type);
    LstmPersistentParams p{layer,
                           first_of_step,
                           0,
                           first_step,
                           last_step,
                           plan.cells_per_block,
                           plan.outputs_per_block,
                           plan.held_cells,
                           plan.held_outputs,
                           persistent_layout(plan, layer.projection_dim, layer.cell_size, sizeof(T))};
    with_rows(plan.rows, [&](auto tile) {
      constexpr int R = decltype(tile)::value;
      for (p.direction = 0; p.direction < 2; ++p.direction)
        launch("lstm_persistent_kernel", lstm_persistent_kernel<T, R>, config_of(plan), static_cast<Stream>(stream), p);
    });
  });
}

}  // namespace gpu
}  // namespace elmo_fast
