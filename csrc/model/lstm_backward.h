// Backward pass through time for one direction of one layer: only the part that must go step by step. The rest,
// products over all tokens at once (gradients of the weights and of the input), is left to the caller, who has a matrix
// library.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/packed_matrix.h"
#include "model/bilstm_plan.h"
#include "model/model_params.h"
#include "runtime/thread_pool.h"
#include "runtime/workspace.h"

namespace elmo_fast {

// B batch_size, T num_timesteps, P projection_dim, C cell_size; P' and C' rounded up to kUnit. Tokens are stored in the
// order of `token_order`.
struct LstmBackwardCall {
  const int64_t* lengths;  // (B), each in [0, T]
  int64_t batch_size;
  int64_t num_timesteps;
  int direction;         // 0 forward, 1 backward
  const float* saved;    // (tokens, saved_size) saved by `BiLstm::run` for this layer and direction
  const float* h_first;  // (B, 2P) initial state of the call, of which this direction's half is read; null: zeros
  const float* c_first;  // (B, 2C) likewise
  const float* dout;     // (B, T, 2P) gradient of the layer's own output, before the skip connection
  const float* dh_last;  // (B, 2P) gradient of the final state, or null
  const float* dc_last;  // (B, 2C) likewise; null exactly when dh_last is
  float* dgates;         // (tokens, gates_stride) out: gradient of the gates' sums: C' each of i, f, g, o
  float* m;              // (tokens, cells_stride) out: sigmoid(o) * tanh(c)
  float* dh;             // (tokens, outputs_stride) out: gradient of W_P m
  float* h_before;       // (tokens, outputs_stride) out: h that the step started from
  float* dh_first;       // (B, 2P) out, this direction's half: gradient of the initial state; null: not wanted
  float* dc_first;       // (B, 2C) likewise
};

class LstmBackward {
 public:
  // Packs the transposes of the two matrices that a step multiplies by.
  LstmBackward(const float* state_weight, const float* projection, int64_t projection_dim, int64_t cell_size,
               const BiLstmOptions& options);

  // Same bits for every thread count and instruction set.
  void run(const LstmBackwardCall& call, int num_threads) const;

  int64_t projection_dim() const { return projection_dim_; }
  int64_t cell_size() const { return cell_size_; }
  int64_t padded_cells() const { return round_up(cell_size_, kUnit); }
  int64_t padded_outputs() const { return round_up(projection_dim_, kUnit); }
  // Floats from one token to the next, padded so that rows do not alias in a cache set.
  int64_t gates_stride() const { return 4 * padded_cells() + kRowPad; }
  int64_t cells_stride() const { return padded_cells() + kRowPad; }
  int64_t outputs_stride() const { return padded_outputs() + kRowPad; }
  int64_t bytes() const { return state_.bytes() + projection_.bytes(); }

 private:
  struct Scratch {
    float *dh, *dc, *c_first;  // (lanes, outputs_stride), (lanes, cells_stride) twice
  };
  void run_plan(const LstmBackwardCall& call, const BatchPlan& plan, int num_threads) const;
  void load_state(const Team& team, const LstmBackwardCall& call, const BatchPlan& plan, const Scratch& s) const;
  void store_state(const Team& team, const LstmBackwardCall& call, const BatchPlan& plan, const Scratch& s) const;
  // Columns [begin, end) of a step's dh and h_before.
  void hidden(const LstmBackwardCall& call, const BatchPlan& plan, const Scratch& s, int64_t step, int64_t begin,
              int64_t end) const;

  int64_t projection_dim_, cell_size_;
  BiLstmOptions options_;
  PackedMatrix state_;       // (P', 4 C'): from the gates to h
  PackedMatrix projection_;  // (C', P): from h to m
  mutable WorkspacePool workspaces_;
};

// The order of the tokens in `saved` and in the gradients: step by step, longest row first. token[i] is b * T + t.
std::vector<int64_t> token_order(const int64_t* lengths, int64_t batch_size, int64_t num_timesteps, int direction);

}  // namespace elmo_fast
