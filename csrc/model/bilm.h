// A whole biLM: character ids in, all layers out. Needs neither Python nor torch; examples/embed.cc shows its use.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "model/bilstm.h"
#include "model/cached_encoder.h"

namespace elmo_fast {

// One call. L LSTM layers, P projection_dim, C cell_size, B batch_size, T num_timesteps without sentence markers,
// M max_characters.
struct BiLmCall {
  const int64_t* char_ids;  // (B, T, M)
  // (B), each in [0, T]: the first lengths[b] positions of row b hold its tokens. Null: a position holds a token where
  // any of its ids is above 0.
  const int64_t* lengths;
  int64_t batch_size;
  int64_t num_timesteps;
  const float* initial_h;  // (L, B, 2P), or null: zeros
  const float* initial_c;  // (L, B, 2C); null exactly when initial_h is
  float* h;                // (L, B, 2P) receives the final state; null: it is not wanted. May be initial_h.
  float* c;                // (L, B, 2C), likewise
  float* out;              // (L + 1, B, T + 2, 2P) with sentence markers, zeros on padding; layer 0 is the token
                           // embedding, once per direction
  bool* mask;              // (B, T + 2): where there is a token or a marker
};

class BiLm {
 public:
  // Throws std::invalid_argument if the encoder's output is not the LSTM's input.
  BiLm(std::shared_ptr<const CachedTokenEncoder> encoder, std::shared_ptr<const BiLstm> lstm);

  // Threads may share a BiLm. Same bits for every batch composition, padding, thread count and instruction set.
  // Throws std::invalid_argument for an id that the model does not know or a length out of range, before it writes to
  // `out`, `h` or `c`.
  void run(const BiLmCall& call, int num_threads) const;

  int64_t num_layers() const { return lstm_->num_layers() + 1; }
  int64_t output_dim() const { return 2 * lstm_->projection_dim(); }
  int64_t max_characters() const { return encoder_->encoder().max_characters(); }
  const std::shared_ptr<const CachedTokenEncoder>& encoder() const { return encoder_; }
  const std::shared_ptr<const BiLstm>& lstm() const { return lstm_; }

 private:
  std::shared_ptr<const CachedTokenEncoder> encoder_;
  std::shared_ptr<const BiLstm> lstm_;
  std::vector<int64_t> bos_, eos_;  // (M): the sentence markers
};

// The second half of a biLM alone: the call's x is a table of token embeddings, and its out has one layer more than
// that of `BiLstm::run`: (L + 1, B, T, 2P). mask (B, T): layer 0 is zero where it is false.
void run_layers(const BiLstm& lstm, BiLstmCall call, const bool* mask, int num_threads);

}  // namespace elmo_fast
