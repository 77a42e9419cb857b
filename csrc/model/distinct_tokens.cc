#include "model/distinct_tokens.h"

#include <cstring>
#include <stdexcept>
#include <string>

namespace elmo_fast {
namespace {

uint64_t hash_ids(const int32_t* ids, int64_t n) {
  uint64_t h = 0x9e3779b97f4a7c15u;
  for (int64_t i = 0; i < n; ++i) {
    h = (h ^ static_cast<uint64_t>(static_cast<uint32_t>(ids[i]))) * 0xff51afd7ed558ccdu;
    h ^= h >> 29;
  }
  return h;
}

}  // namespace

void check_char_ids(const int64_t* char_ids, int64_t n, int64_t max_characters, int64_t n_char_ids) {
  for (int64_t i = 0; i < n * max_characters; ++i)
    if (char_ids[i] < 0 || char_ids[i] >= n_char_ids)
      throw std::invalid_argument(
          "char_ids: id " + std::to_string(char_ids[i]) + " of token " + std::to_string(i / max_characters) +
          ", position " + std::to_string(i % max_characters) + " is outside [0, " + std::to_string(n_char_ids) + ")");
}

DistinctTokens find_distinct(const int64_t* char_ids, int64_t n, int64_t max_characters) {
  DistinctTokens tokens;
  tokens.index.resize(static_cast<size_t>(n));
  const int64_t width = max_characters;
  int64_t slots = 16;
  while (slots < 2 * n) slots *= 2;
  std::vector<int32_t> slot_of(static_cast<size_t>(slots), -1);  // open addressing: at most half full
  std::vector<int32_t> row(static_cast<size_t>(width));
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t k = 0; k < width; ++k) row[static_cast<size_t>(k)] = static_cast<int32_t>(char_ids[i * width + k]);
    uint64_t slot = hash_ids(row.data(), width) & static_cast<uint64_t>(slots - 1);
    const size_t row_bytes = row.size() * sizeof(int32_t);
    int32_t found;
    while ((found = slot_of[slot]) >= 0 &&
           std::memcmp(&tokens.char_ids[static_cast<size_t>(found * width)], row.data(), row_bytes) != 0)
      slot = (slot + 1) & static_cast<uint64_t>(slots - 1);
    if (found < 0) {
      found = slot_of[slot] = static_cast<int32_t>(tokens.size());
      tokens.char_ids.insert(tokens.char_ids.end(), row.begin(), row.end());
      int64_t tail = width - 1;
      while (tail > 0 && row[static_cast<size_t>(tail - 1)] == row.back()) --tail;
      tokens.tails.push_back(static_cast<int32_t>(tail));
    }
    tokens.index[static_cast<size_t>(i)] = found;
  }
  return tokens;
}

}  // namespace elmo_fast
