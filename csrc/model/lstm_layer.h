// The packed weights of one layer of one direction.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/packed_matrix.h"
#include "cpu/precision.h"
#include "model/model_params.h"
#include "runtime/aligned_buffer.h"

namespace elmo_fast {

class LstmLayer {
 public:
  LstmLayer(const LstmParams& params, int64_t input_size, int64_t projection_dim, int64_t cell_size,
            Precision precision);

  // The original parameters: bit for bit in float32, rounded in the other precisions.
  struct Weights {
    std::vector<float> input_weight, state_weight, bias, projection;
  };
  Weights weights() const;

  int64_t input_size() const { return input.depth(); }
  int64_t projection_dim() const { return state.depth(); }
  int64_t cell_size() const { return projection.depth(); }
  Precision precision() const { return precision_; }   // asked for
  Precision format() const { return input.format(); }  // what it was packed as
  int64_t bytes() const { return input.bytes() + state.bytes() + projection.bytes() + bias.bytes(); }

  PackedMatrix input, state;  // (4 * cell_size, .) in panels of 16 cells x (i, f, g, o)
  PackedMatrix projection;    // (projection_dim, cell_size)
  AlignedBuffer bias;         // in panel order

 private:
  Precision precision_;
};

}  // namespace elmo_fast
