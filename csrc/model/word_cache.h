// Token embeddings kept between calls: the most recently used words, found by their character ids.
//
// It is exact in both senses: a word is found only if all its ids are equal, and the word evicted is the least recently
// used one. Threads may share a cache, and a forked child keeps its parent's words.
#pragma once

#include <cstdint>
#include <list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "model/token_encoder.h"

namespace elmo_fast {

class WordCache {
 public:
  // capacity: the largest number of words held, 0 for none; output_dim: floats per word. Memory is allocated word by
  // word.
  WordCache(int64_t capacity, int64_t max_characters, int64_t output_dim);

  // Identifies what computed the embeddings, if that affects their bits: any pointer. Words of another source are
  // forgotten.
  using Source = const void*;

  // Copies the words that are held into rows 0, 1, ... of out, in the tokens' order, and returns their number.
  // rows (tokens.size()): the row of each word, -1 if it is missing.
  int64_t look_up(Source source, const DistinctTokens& tokens, float* out, int32_t* rows);

  // Stores embeddings (tokens.size(), output_dim), unless another source has taken over since.
  void insert(Source source, const DistinctTokens& tokens, const float* embeddings);

  // Forgets all words and counts.
  void clear();

  struct Info {
    int64_t hits, misses;  // words looked up since the last clear()
    int64_t size;          // words held
    int64_t bytes;         // their memory, keys and embeddings, to within a few percent
  };
  Info info() const;
  int64_t capacity() const { return capacity_; }

 private:
  struct Word {
    std::string key;  // the bytes of its ids up to its tail; later ids repeat the last one
    std::vector<float> embedding;
  };
  using Words = std::list<Word>;

  std::string_view key_of(const DistinctTokens& tokens, int64_t i) const;
  void put(std::string_view key, const float* embedding);

  int64_t capacity_, max_characters_, output_dim_;
  Words words_;                                                   // most recently used first
  std::unordered_map<std::string_view, Words::iterator> by_key_;  // views of the words' own keys
  Source source_ = nullptr;
  int64_t hits_ = 0, misses_ = 0, key_bytes_ = 0;
};

}  // namespace elmo_fast
