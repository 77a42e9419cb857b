#include "gpu.cuh"

namespace elmo_fast {
namespace gpu {

int device_count() { return count_devices(); }

DeviceProperties device_properties(int device) { return query_device(device); }

void use_device(int device) {
  choose_device(device);
  static thread_local int checked = -1;
  if (checked == device) return;
  const DeviceProperties p = query_device(device);
  if (p.capability < kOldestCapability)
    throw Error("CUDA device " + std::to_string(device) + " (" + p.name + "): expected compute capability " +
                std::to_string(kOldestCapability / 10.0).substr(0, 3) + " or newer, got " +
                std::to_string(p.capability / 10.0).substr(0, 4));
  checked = device;
}

}  // namespace gpu
}  // namespace elmo_fast
