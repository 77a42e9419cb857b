// A model's parameters as plain pointers and sizes. Nothing here owns memory.
//
// All matrices are float32, row-major, C-contiguous, in PyTorch's orientation (output rows, input columns).
// The four gates of a cell are stored in the order i, f, g, o: rows [0, C) of a gate matrix belong to the input gate,
// [C, 2C) to the forget gate, [2C, 3C) to the candidate ("memory init"), [3C, 4C) to the output gate.
#pragma once

#include <cstdint>
#include <vector>

namespace elmo_fast {

// One convolution of the character CNN: y[n] = bias[n] + sum_{e,k} weight[n][e][k] * embedding[id[p + k]][e].
struct ConvolutionParams {
  const float* weight;  // (n_filters, embedding_dim, filter_width)
  const float* bias;    // (n_filters)
  int64_t n_filters;
  int64_t filter_width;
};

// One highway layer: x' = g * x + (1 - g) * relu(t), [t; c] = weight x + bias, g = sigmoid(c).
struct HighwayParams {
  const float* weight;  // (2 * n_filters, n_filters), rows [transform; carry]
  const float* bias;    // (2 * n_filters)
};

enum class Activation { kRelu, kTanh };

// The context-insensitive token encoder: characters -> convolutions -> highways -> projection.
struct TokenEncoderParams {
  const float* char_embedding;  // (n_char_ids, embedding_dim), row 0 is the padding id
  int64_t n_char_ids;
  int64_t embedding_dim;
  int64_t max_characters;  // character ids per token
  Activation activation;
  std::vector<ConvolutionParams> convolutions;
  std::vector<HighwayParams> highways;
  const float* projection_weight;  // (projection_dim, n_filters), or null: the features are the output
  const float* projection_bias;    // (projection_dim), or null
  int64_t projection_dim;

  int64_t n_filters() const {
    int64_t n = 0;
    for (const ConvolutionParams& c : convolutions) n += c.n_filters;
    return n;
  }
};

// One layer of one direction.
// Source: Sak et al. 2014, arXiv:1402.1128; clipping as in bilm-tf.
struct LstmParams {
  const float* input_weight;  // (4 * cell_size, input_size)
  const float* state_weight;  // (4 * cell_size, projection_dim)
  const float* bias;          // (4 * cell_size)
  const float* projection;    // (projection_dim, cell_size)
};

// Options shared by the layers of a biLSTM.
struct BiLstmOptions {
  float cell_clip;  // bound on the absolute cell state; 0 disables it
  float proj_clip;  // bound on the absolute projected state; 0 disables it
  bool use_skip_connections;
};

}  // namespace elmo_fast
