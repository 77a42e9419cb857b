// CUDA devices, for code that a plain C++ compiler compiles.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>

namespace elmo_fast {
namespace gpu {

// An error of the CUDA runtime: what was attempted, and CUDA's own message.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct DeviceProperties {
  std::string name;
  int capability = 0;  // 10 * major + minor
  int multiprocessors = 0;
  size_t shared_bytes = 0;   // the largest amount of shared memory that one block can request
  bool cooperative = false;  // whether a grid can synchronise
};

constexpr int kOldestCapability = 75;  // the oldest that CUDA 13 compiles for

// 0 where there is no driver or no device.
int device_count();
DeviceProperties device_properties(int device);

// Makes a device the current one of this thread while it is alive. This module has its own CUDA runtime beside
// PyTorch's, but both use the driver's current context, so it is restored afterwards.
class CurrentDevice {
 public:
  explicit CurrentDevice(int device);  // throws Error if there is no such device
  ~CurrentDevice();
  CurrentDevice(const CurrentDevice&) = delete;

 private:
  int before_;
};

}  // namespace gpu
}  // namespace elmo_fast
