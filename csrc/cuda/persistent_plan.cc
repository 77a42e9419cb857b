#include "cuda/persistent_plan.h"

#include <algorithm>

namespace elmo_fast {
namespace gpu {

PersistentLayout persistent_layout(int groups, int tiles, int projection_dim) {
  const auto size = static_cast<size_t>(padded_to_tile(projection_dim));
  const auto rows = static_cast<size_t>(8 * tiles);
  PersistentLayout at;
  at.projection = static_cast<size_t>(32 * groups) * size * 2;
  at.m = at.projection + size * kTile * 2;
  at.staged = at.m + rows * kTile * 2;
  const size_t sums = static_cast<size_t>(kPersistentWarps * 2 * tiles) * 512;
  at.end = at.staged + std::max(rows * (size * 2 + 64), sums);
  return at;
}

PersistentPlan plan_persistent(const DeviceProperties& device, int projection_dim, int cell_size, size_t weight_bytes,
                               int n_rows) {
  PersistentPlan plan;
  if (!device.cooperative || device.capability < kTensorCoreCapability || weight_bytes != 2) return plan;
  for (const int groups : {1, 2, 4}) {
    const int blocks = (cell_size + 8 * groups - 1) / (8 * groups);
    if (blocks > device.multiprocessors) continue;
    for (int tiles = n_rows <= 8 ? 1 : n_rows <= 16 ? 2 : 4; tiles > 0; tiles /= 2) {
      const size_t bytes = persistent_layout(groups, tiles, projection_dim).end;
      if (bytes <= device.shared_bytes) return {blocks, groups, tiles, bytes};
    }
  }
  return plan;
}

}  // namespace gpu
}  // namespace elmo_fast
