// A token encoder that remembers the words it has seen. Results have the same bits as without it.
#pragma once

#include "model/token_encoder.h"
#include "model/word_cache.h"

namespace elmo_fast {

class CachedTokenEncoder {
 public:
  // word_cache_size: the largest number of words remembered; 0 for none.
  CachedTokenEncoder(const TokenEncoderParams& params, Precision precision, int64_t word_cache_size,
                     int num_threads = 1)
      : encoder_(params, precision, num_threads),
        words_(word_cache_size, encoder_.max_characters(), encoder_.output_dim()) {}

  // out: (tokens->size(), output_dim), in no particular order: tokens->index is rewritten to match it.
  void encode(DistinctTokens* tokens, float* out, int num_threads) const;

  const TokenEncoder& encoder() const { return encoder_; }
  WordCache& words() const { return words_; }

 private:
  WordCache::Source source() const;

  TokenEncoder encoder_;
  mutable WordCache words_;
};

}  // namespace elmo_fast
