// The bidirectional LSTM with projection over ragged batches. This is schedule and memory only; kernels do the
// arithmetic.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "model/bilstm_plan.h"
#include "model/lstm_layer.h"
#include "model/model_params.h"
#include "runtime/thread_pool.h"
#include "runtime/workspace.h"

namespace elmo_fast {

// One call. L layers, P projection_dim, C cell_size, B batch_size, T num_timesteps.
struct BiLstmCall {
  const float* x;          // (n_rows, input_size)
  const int32_t* index;    // (B, T): row of x that step t of row b reads; only read for t < lengths[b]
  const int64_t* lengths;  // (B), each in [0, T]
  int64_t batch_size;
  int64_t num_timesteps;
  float* h;    // (L, B, 2P) receives the final state; null: it is not wanted
  float* c;    // (L, B, 2C) likewise; null exactly when h is
  float* out;  // (L, B, T, 2P) layer outputs, forward half first; zeros beyond a row's length
  // (L, 2, B * T, saved_size) for `LstmBackward`, or null. Only the first rows of each layer and direction are written,
  // one per token, in the order of `token_order`. float32 only.
  float* saved = nullptr;
  const float* initial_h = nullptr;  // (L, B, 2P), or null: zeros. May be h.
  const float* initial_c = nullptr;  // (L, B, 2C); null exactly when initial_h is. May be c.
};

// Floats per token, layer and direction that the backward pass needs; kernels.h lists them.
inline int64_t saved_size(int64_t cell_size, int64_t projection_dim) {
  return round_up(cell_size, kUnit) / kUnit * kSavedPanel + round_up(projection_dim, kUnit);
}

class BiLstm {
 public:
  // Layers in ascending order, one per direction; throws std::invalid_argument if their sizes do not match.
  using Layers = std::vector<std::shared_ptr<const LstmLayer>>;
  BiLstm(Layers forward, Layers backward, const BiLstmOptions& options);

  // Rows of length 0 keep their initial state. The result has the same bits for every batch composition, padding,
  // thread count and instruction set.
  void run(const BiLstmCall& call, int num_threads) const;

  int64_t num_layers() const { return static_cast<int64_t>(layers_[0].size()); }
  int64_t input_size() const { return layer(0, 0).input_size(); }
  int64_t projection_dim() const { return layer(0, 0).projection_dim(); }
  int64_t cell_size() const { return layer(0, 0).cell_size(); }
  Precision precision() const { return layer(0, 0).precision(); }  // asked for
  Precision format() const { return layer(0, 0).format(); }        // what it was packed as, and runs as
  const BiLstmOptions& options() const { return options_; }
  const LstmLayer& layer(int64_t layer, int direction) const { return *layers_[direction][static_cast<size_t>(layer)]; }
  const Layers& layers(int direction) const { return layers_[direction]; }
  int64_t bytes() const;

 private:
  struct Scratch;
  void pass_state_of_empty_rows(const BiLstmCall& call) const;
  void clear_padding(const Team& team, const BiLstmCall& call) const;
  void run_group(const BiLstmCall& call, const BatchPlan& plan, int num_threads) const;
  void run_direction(const ProductKernels& kernel, Team& team, const BiLstmCall& call, const BatchPlan& plan,
                     Scratch& scratch, int64_t layer, int direction) const;
  void run_step(const ProductKernels& kernel, Team& team, const BiLstmCall& call, const BatchPlan& plan,
                Scratch& scratch, int64_t layer, int direction, int64_t step) const;
  // Copies a row's state from the batch into a lane, and back out of it.
  void load_state(const BiLstmCall& call, const Scratch& s, int64_t layer, int direction, int64_t lane,
                  int64_t row) const;
  void store_state(const BiLstmCall& call, const Scratch& s, int64_t layer, int direction, int64_t lane,
                   int64_t row) const;
  size_t cells_of(int64_t panel) const {
    return static_cast<size_t>(std::min<int64_t>(kUnit, cell_size() - panel * kUnit));
  }
  bool directions_fit_side_by_side() const;

  Layers layers_[2];
  BiLstmOptions options_;
  mutable WorkspacePool workspaces_;
};

}  // namespace elmo_fast
