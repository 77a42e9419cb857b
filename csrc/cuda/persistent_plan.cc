#include "cuda/persistent_plan.h"

#include <algorithm>

#include "cuda/kernel_params.h"

namespace elmo_fast {
namespace gpu {
namespace {

int ceil_div(int a, int b) { return (a + b - 1) / b; }

}  // namespace

PersistentLayout persistent_layout(const PersistentPlan& plan, int projection_dim, int cell_size, size_t weight_bytes) {
  const size_t row = static_cast<size_t>(padded(projection_dim));
  PersistentLayout at;
  at.outputs = static_cast<size_t>(plan.held_cells) * 4 * row * weight_bytes;
  at.staged =
      at.outputs + static_cast<size_t>(plan.held_outputs) * static_cast<size_t>(padded(cell_size)) * weight_bytes;
  at.partials = at.staged + static_cast<size_t>(plan.rows) * row * sizeof(float);
  return at;
}

PersistentPlan plan_persistent(const DeviceProperties& device, int projection_dim, int cell_size, size_t weight_bytes,
                               int n_rows, int threads) {
  PersistentPlan plan;
  plan.threads = threads;
  plan.rows = tile_rows(n_rows);
  const size_t row = static_cast<size_t>(padded(projection_dim));
  const size_t cell_bytes = 4 * row * weight_bytes;
  const size_t output_bytes = static_cast<size_t>(padded(cell_size)) * weight_bytes;
  const size_t activations =
      (static_cast<size_t>(plan.rows) * row + 4 * static_cast<size_t>(plan.rows * plan.threads / 32)) * sizeof(float);
  if (!device.cooperative || device.shared_bytes < activations) return plan;
  plan.cells_per_block = ceil_div(cell_size, device.multiprocessors);
  plan.outputs_per_block = ceil_div(ceil_div(projection_dim, device.multiprocessors), 4) * 4;
  const size_t room = device.shared_bytes - activations;
  plan.held_cells = static_cast<int>(std::min<size_t>(static_cast<size_t>(plan.cells_per_block), room / cell_bytes));
  const size_t rest = room - static_cast<size_t>(plan.held_cells) * cell_bytes;
  plan.held_outputs =
      static_cast<int>(std::min<size_t>(static_cast<size_t>(plan.outputs_per_block), rest / output_bytes / 4 * 4));
  const size_t held =
      static_cast<size_t>(plan.held_cells) * cell_bytes + static_cast<size_t>(plan.held_outputs) * output_bytes;
  plan.shared_bytes = held + activations;
  plan.held =
      static_cast<double>(held) / static_cast<double>(static_cast<size_t>(plan.cells_per_block) * cell_bytes +
                                                      static_cast<size_t>(plan.outputs_per_block) * output_bytes);
  if (plan.held >= kWorthwhile)
    plan.blocks = std::max(ceil_div(cell_size, plan.cells_per_block), ceil_div(projection_dim, plan.outputs_per_block));
  return plan;
}

}  // namespace gpu
}  // namespace elmo_fast
