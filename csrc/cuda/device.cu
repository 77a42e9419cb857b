#include "gpu.cuh"

namespace elmo_fast {
namespace gpu {

int device_count() { return count_devices(); }

DeviceProperties device_properties(int device) { return query_device(device); }

void use_device(int device) { choose_device(device); }

}  // namespace gpu
}  // namespace elmo_fast
