// Finds the distinct tokens of a batch, so that each is computed once.
#pragma once

#include <cstdint>
#include <vector>

namespace elmo_fast {

// The distinct rows of a list of tokens.
struct DistinctTokens {
  std::vector<int32_t> index;     // (n): the distinct token that each row is
  std::vector<int32_t> char_ids;  // (n_distinct, max_characters)
  std::vector<int32_t> tails;     // (n_distinct): from here on a token's ids are all the same
  int64_t size() const { return static_cast<int64_t>(tails.size()); }
};

// char_ids: (n, max_characters), checked.
DistinctTokens find_distinct(const int64_t* char_ids, int64_t n, int64_t max_characters);

// Throws std::invalid_argument for an id outside [0, n_char_ids).
void check_char_ids(const int64_t* char_ids, int64_t n, int64_t max_characters, int64_t n_char_ids);

}  // namespace elmo_fast
