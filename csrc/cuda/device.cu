#include "cuda/gpu.cuh"

namespace elmo_fast {
namespace gpu {

int device_count() { return count_devices(); }

DeviceProperties device_properties(int device) { return query_device(device); }

CurrentDevice::CurrentDevice(int device) : before_(current_device()) {
  if (device != before_) choose_device(device);
}

CurrentDevice::~CurrentDevice() {
  try {
    if (current_device() != before_) choose_device(before_);
  } catch (const Error&) {
    // A launch inside has met the same error and thrown it.
  }
}

}  // namespace gpu
}  // namespace elmo_fast
