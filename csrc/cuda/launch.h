// The kernels as functions of a stream. They launch and return: nothing is allocated, waited for or read back, so all
// of them can be captured in a CUDA graph. `stream` is a cudaStream_t of the current device; errors are gpu::Error.
#pragma once

#include "cuda/kernel_params.h"
#include "cuda/persistent_plan.h"

namespace elmo_fast {
namespace gpu {

void launch_char_cnn(Storage storage, const CharCnnParams& params, void* stream);
void launch_highway(Storage storage, const HighwayParams& params, void* stream);
void launch_scalar_mix(Storage storage, const ScalarMixParams& params, void* stream);

// Runs steps [first_step, last_step) of a layer, two kernels per step.
//   first_of_step: (last_step + 1), on the host: the first token of each step, and the end of the last one.
void launch_lstm_steps(Storage storage, const LstmLayerParams& params, const int32_t* first_of_step, int first_step,
                       int last_step, void* stream);

// The same with the persistent kernel, one launch per direction.
//   first_of_step: on the device.
void launch_lstm_persistent(Storage storage, const LstmLayerParams& params, const PersistentPlan& plan,
                            const int32_t* first_of_step, int first_step, int last_step, void* stream);

// The two halves of one step around a library's products.
void launch_lstm_product_cells(Storage storage, const LstmLayerParams& params, const LstmProduct& product,
                               void* stream);
void launch_lstm_product_outputs(Storage storage, const LstmLayerParams& params, const LstmProduct& product,
                                 void* stream);

// Prepares the current device for a plan; call it once, before the first launch. Throws gpu::Error if the plan's blocks
// do not fit on the device at the same time.
void prepare_persistent(Storage storage, const PersistentPlan& plan, const DeviceProperties& device);

}  // namespace gpu
}  // namespace elmo_fast
