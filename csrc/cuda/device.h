// CUDA devices, for code that a plain C++ compiler compiles.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>

namespace elmo_fast {
namespace gpu {

// An error of the CUDA runtime: what was attempted, and CUDA's own words.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct DeviceProperties {
  std::string name;
  int capability = 0;  // 10 * major + minor
  int multiprocessors = 0;
  size_t shared_bytes = 0;   // most shared memory that one block can ask for
  bool cooperative = false;  // whether a grid can synchronise
};

constexpr int kOldestCapability = 75;  // the oldest that CUDA 13 compiles for

// 0 where there is no driver or no device.
int device_count();
DeviceProperties device_properties(int device);

// Makes a device this thread's current one, at every call: this module has a CUDA runtime of its own, beside PyTorch's,
// and so a current device of its own. Throws Error where it is not there.
void use_device(int device);

}  // namespace gpu
}  // namespace elmo_fast
