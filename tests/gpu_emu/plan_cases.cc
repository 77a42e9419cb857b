#include <cstdio>

#include "cases.h"
#include "cuda/persistent_plan.h"

namespace {

using namespace elmo_fast::gpu;

// What persistent_plan.h says of GPUs and models.
std::string check_plans() {
  const DeviceProperties h100{"H100", 90, 132, 227 << 10, true}, a100{"A100", 80, 108, 163 << 10, true};
  const DeviceProperties t4{"T4", 75, 40, 64 << 10, true}, alone{"no grids", 90, 132, 227 << 10, false};
  const struct {
    const DeviceProperties& device;
    int projection_dim, cell_size;
    size_t weight_bytes;
    int n_rows, blocks, groups, tiles;
  } expected[] = {
      {h100, 512, 4096, 2, 1, 128, 4, 1},   {h100, 512, 4096, 2, 16, 128, 4, 2}, {h100, 512, 4096, 2, 500, 128, 4, 4},
      {h100, 512, 4096, 4, 1, 0, 0, 0},     {a100, 512, 4096, 2, 1, 0, 0, 0},    {a100, 128, 1024, 2, 17, 64, 2, 4},
      {a100, 256, 2048, 2, 9, 64, 4, 2},    {t4, 128, 1024, 2, 1, 0, 0, 0},      {alone, 128, 1024, 2, 1, 0, 0, 0},
      {h100, 600, 4096, 2, 500, 128, 4, 2}, {h100, 1024, 4096, 2, 1, 0, 0, 0},
  };
  for (const auto& e : expected) {
    const PersistentPlan plan = plan_persistent(e.device, e.projection_dim, e.cell_size, e.weight_bytes, e.n_rows);
    const bool equal = plan.blocks == e.blocks && plan.groups == e.groups && plan.tiles == e.tiles &&
                       plan.shared_bytes <= e.device.shared_bytes;
    if (equal) continue;
    char text[200];
    std::snprintf(text, sizeof text, "%s, %d rows: got %d blocks of %d groups, %d tiles, %zu bytes",
                  e.device.name.c_str(), e.n_rows, plan.blocks, plan.groups, plan.tiles, plan.shared_bytes);
    return text;
  }
  return "";
}

}  // namespace

std::vector<Case> plan_cases() { return {{"persistent plans", check_plans}}; }
