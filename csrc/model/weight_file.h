// A whole model in one flat file, for programs without Python: `elmo-fast export` writes it, this reads it.
//
// Little-endian, nothing aligned or compressed, everything in this order:
//
//   char[8]   "elmofast"
//   uint32    format version, 1
//   uint32    CRC-32 (zlib's) of all bytes after this field
//   int64     n_char_ids, embedding_dim, max_characters, activation (0 relu, 1 tanh), n_convolutions, n_highways,
//             has_projection (0, 1), projection_dim, cell_size, n_layers, use_skip_connections (0, 1)
//   float32   cell_clip, proj_clip (0: none)
//   int64     filter_width and n_filters of each convolution
//   float32   the arrays, row-major, shaped as in model_params.h: char_embedding; weight and bias of each convolution,
//             of each highway, and of the projection if there is one; then, for each layer, first the forward and then
//             the backward direction: input_weight, state_weight, bias and projection
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include "cpu/precision.h"
#include "model/bilm.h"

namespace elmo_fast {

// The file is missing, not of this format, damaged, or describes no model; the message names the file and what is
// wrong.
class WeightFileError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Reads and packs a model. Beyond the packed weights it needs memory for the float32 arrays of one direction of one
// layer, or of the token encoder.
BiLm read_weight_file(const std::string& path, Precision precision = Precision::kFloat32, int64_t word_cache_size = 0,
                      int num_threads = 1);

}  // namespace elmo_fast
