// Arguments of the launchers: device pointers and sizes, with every shape. Weights and activations are in the storage
// type (float32, float16 or bfloat16), states and the cells' outputs in float32. Gate order: i, f, g, o.
#pragma once

#include <cstdint>

namespace elmo_fast {
namespace gpu {

enum class Storage { kFloat32 = 0, kFloat16 = 1, kBfloat16 = 2 };

constexpr int kMostConvolutions = 16;
constexpr int kMostLayers = 8;
constexpr int kPadded = 8;  // rows that kernels read 16 bytes at a time are padded with zeros to multiples of this

struct CharCnnParams {
  const int32_t* char_ids;  // (n, max_characters)
  // For each convolution (width, n_ids, n_filters): the contribution of a character at this place of a window to a
  // filter.
  const void* tables;
  const float* bias;  // (n_filters)
  void* out;          // (n, n_filters); NaN in a row with an id outside 0 to n_ids - 1
  int n, max_characters, n_ids, n_filters, n_convolutions;
  bool is_tanh;  // else relu
  int widths[kMostConvolutions];
  int first_filters[kMostConvolutions + 1];
  int64_t table_offsets[kMostConvolutions];
};

struct HighwayParams {
  const void* gates;  // (n, 2 * size): A x + a, then B x + b
  const void* x;      // (n, size)
  void* out;          // (n, size): g * x + (1 - g) * relu(A x + a), g = sigmoid(B x + b); may be x
  int64_t n;
  int size;
};

struct ScalarMixParams {
  const void* layers[kMostLayers];  // each (batch_size, num_timesteps + 2, dim), sentence markers included
  const float* weights;             // (n_layers)
  const uint8_t* mask;              // (batch_size, num_timesteps), 0 on padding
  void* out;                        // (batch_size, num_timesteps, dim), 0 on padding
  int n_layers, batch_size, num_timesteps, dim;
};

// One layer, both directions; rows are sorted by length, longest first. Each direction stores its tokens in its own
// step order: the token of row r at step s has index first_of_step[s] + r.
struct LstmLayerParams {
  const void* state_weights[2];       // (4 * cell_size, padded projection_dim)
  const void* projection_weights[2];  // (projection_dim, padded cell_size)
  const void* xw[2];                  // (rows of the chunk's input product, 4 * cell_size), bias included
  const int32_t* slots[2];  // (tokens): each token's row of xw; null: the tokens from first_token on, in order
  const void* below[2];     // (tokens, projection_dim): the layer's input, added to its output; or null
  void* above[2];           // (tokens, projection_dim): the next layer's input, or null
  void* out;                // (batch_size, num_timesteps, 2 * projection_dim)
  const int32_t* lengths;   // (rows)
  const int32_t* rows;      // (rows): each row's number in the batch
  float* h;                 // (2, n_rows, padded projection_dim)
  float* c;                 // (2, n_rows, cell_size)
  float* m;                 // (2, n_rows, padded cell_size)
  const int32_t* n_steps;   // on the device: the number of steps, if it is fewer than those launched; or null
  // The persistent kernel and the products read h in the storage type; the rest is the persistent kernel's alone.
  void* stored_h;              // (2, n_rows, projection_dim padded to kTile)
  const void* fragments[2];    // (blocks, 16-byte words): each block's weights as tensor cores read them
  float* partials;             // (2, kPersistentRows, blocks, projection_dim padded to kTile): scratch memory
  float cell_clip, proj_clip;  // 0: none
  int n_rows, num_timesteps, projection_dim, cell_size;
  int64_t first_token;
};

// A product of one step, which a library computed for both directions.
struct LstmProduct {
  const void* values;   // (2, n_active, 4 * cell_size) for the cells, (2, n_active, projection_dim) for the outputs
  void* m;              // (2, n_active, cell_size) in the storage type: written for the cells
  bool in_float;        // values are float32, else of the storage type
  int step, n_active;   // the first n_active rows run
  int64_t first_token;  // of this step
};

constexpr int padded(int n) { return (n + kPadded - 1) / kPadded * kPadded; }

}  // namespace gpu
}  // namespace elmo_fast
