#include <cmath>
#include <cstdio>

#include "cases.h"
#include "cuda/persistent_plan.h"

namespace {

using namespace elmo_fast::gpu;

// The table of persistent_plan.h: the original model in 16 bits, tiles of 8 rows.
std::string check_plans() {
  const struct {
    DeviceProperties device;
    int cells, outputs, held_cells, held_outputs;
    double held;
    bool used;
  } expected[] = {
      {{"H100", 90, 132, 227 << 10, true}, 32, 4, 32, 4, 1.0, true},
      {{"A100", 80, 108, 163 << 10, true}, 38, 8, 36, 0, 0.67, true},
      {{"RTX 4090", 89, 128, 99 << 10, true}, 32, 4, 20, 0, 0.50, true},
      {{"L4", 89, 58, 99 << 10, true}, 71, 12, 20, 0, 0.21, false},
      {{"without grids that synchronise", 90, 132, 227 << 10, false}, 0, 0, 0, 0, 0.0, false},
  };
  for (const auto& e : expected) {
    const PersistentPlan plan = plan_persistent(e.device, 512, 4096, 2, 64);
    const bool equal = plan.cells_per_block == e.cells && plan.outputs_per_block == e.outputs &&
                       plan.held_cells == e.held_cells && plan.held_outputs == e.held_outputs &&
                       std::fabs(plan.held - e.held) < 0.005 && (plan.blocks > 0) == e.used &&
                       plan.shared_bytes <= e.device.shared_bytes && plan.blocks <= e.device.multiprocessors;
    if (equal) continue;
    char text[200];
    std::snprintf(text, sizeof text, "%s: got %d cells, %d outputs, held %d and %d, part %.3f, %d blocks, %zu bytes",
                  e.device.name.c_str(), plan.cells_per_block, plan.outputs_per_block, plan.held_cells,
                  plan.held_outputs, plan.held, plan.blocks, plan.shared_bytes);
    return text;
  }
  return "";
}

}  // namespace

std::vector<Case> plan_cases() { return {{"persistent plans", check_plans}}; }
