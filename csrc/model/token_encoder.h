// Characters -> token embeddings: char-CNN by table look-up, highways, projection. The result does not depend on the
// context, so each distinct token of a call is computed once.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/packed_matrix.h"
#include "cpu/precision.h"
#include "model/distinct_tokens.h"
#include "model/model_params.h"
#include "runtime/aligned_buffer.h"
#include "runtime/workspace.h"

namespace elmo_fast {

class TokenEncoder {
 public:
  explicit TokenEncoder(const TokenEncoderParams& params, Precision precision = Precision::kFloat32,
                        int num_threads = 1);

  // char_ids: (n, max_characters). Throws std::invalid_argument for an id outside [0, n_char_ids).
  DistinctTokens find_distinct(const int64_t* char_ids, int64_t n) const;

  // out: (tokens.size(), output_dim), with the same bits for every grouping of tokens, thread count and instruction
  // set. saved: null, or zeros of (saved_planes, tokens.size(), saved_stride) for a backward pass, float32 only: the
  // features, then for each highway relu(t), g and its output.
  void encode(const DistinctTokens& tokens, float* out, int num_threads, float* saved = nullptr) const;
  int64_t saved_planes() const { return saved_planes(static_cast<int64_t>(highways_.size())); }
  int64_t saved_stride() const { return saved_stride(n_filters_); }
  static int64_t saved_planes(int64_t n_highways) { return 1 + 3 * n_highways; }
  static int64_t saved_stride(int64_t n_filters) { return round_up(n_filters, kUnit) + kRowPad; }

  // Gradient of a convolution's table, (filter_width, n_char_ids, n_filters): each filter's gradient goes to the
  // characters of the window with its maximum, the first one if several are equal. gradient: (tokens.size(), filters of
  // all convolutions), with respect to the sums before bias and activation. Same bits for every thread count.
  void table_gradient(const DistinctTokens& tokens, const float* gradient, int64_t convolution, float* out,
                      int num_threads) const;

  int64_t output_dim() const { return projected_ ? projection_dim_ : n_filters_; }
  int64_t max_characters() const { return max_characters_; }
  Precision precision() const { return precision_; }      // asked for
  Precision precision_in_use() const { return in_use_; }  // what it was packed for
  int64_t bytes() const;                                  // of weights and tables held

  // The original parameters, bit for bit, in vectors that own what a TokenEncoderParams points to.
  struct Weights {
    std::vector<float> char_embedding;
    std::vector<std::vector<float>> convolution_weights, convolution_biases;
    std::vector<std::vector<float>> highway_weights, highway_biases;
    std::vector<float> projection_weight, projection_bias;
  };
  Weights weights() const;
  const TokenEncoderParams& shape() const { return shape_; }  // sizes only: its pointers are null

 private:
  struct Convolution {
    int64_t n_filters, filter_width, padded_filters;
    AlignedBuffer table;  // (filter_width, n_char_ids, padded_filters)
    AlignedBuffer bias;   // (padded_filters)
    std::vector<float> weight;
  };
  struct Dense {
    PackedMatrix matrix;
    AlignedBuffer bias;
  };
  Convolution make_convolution(const ConvolutionParams& params) const;

  TokenEncoderParams shape_;
  Precision precision_, in_use_;
  Precision format_;  // of highways and projection
  int64_t n_filters_, max_characters_, projection_dim_;
  bool projected_;
  std::vector<float> char_embedding_;
  std::vector<Convolution> convolutions_;
  std::vector<Dense> highways_;
  Dense projection_;
  mutable WorkspacePool workspaces_;
};

}  // namespace elmo_fast
