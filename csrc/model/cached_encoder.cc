#include "model/cached_encoder.h"

#include <vector>

#include "cpu/instruction_sets.h"

namespace elmo_fast {
namespace {

// Returns the tokens whose row is -1, and assigns them rows from `row` on.
DistinctTokens take_missing(const DistinctTokens& tokens, int64_t max_characters, int32_t row,
                            std::vector<int32_t>* rows) {
  DistinctTokens missing;
  for (size_t i = 0; i < rows->size(); ++i) {
    if ((*rows)[i] >= 0) continue;
    const auto ids = tokens.char_ids.begin() + static_cast<int64_t>(i) * max_characters;
    missing.char_ids.insert(missing.char_ids.end(), ids, ids + max_characters);
    missing.tails.push_back(tokens.tails[i]);
    (*rows)[i] = row++;
  }
  return missing;
}

}  // namespace

// float32 has the same bits on every machine; the other precisions may differ from one instruction set to the next.
WordCache::Source CachedTokenEncoder::source() const {
  return encoder_.precision_in_use() == Precision::kFloat32 ? nullptr : &kernels();
}

void CachedTokenEncoder::encode(DistinctTokens* tokens, float* out, int num_threads) const {
  const int64_t n = tokens->size();
  if (words_.capacity() == 0) return encoder_.encode(*tokens, out, num_threads);
  const WordCache::Source before = source();
  std::vector<int32_t> rows(static_cast<size_t>(n));
  const int64_t found = words_.look_up(before, *tokens, out, rows.data());
  if (found == n) return;
  DistinctTokens selected;
  const DistinctTokens* missing = tokens;
  if (found > 0) {
    selected = take_missing(*tokens, encoder_.max_characters(), static_cast<int32_t>(found), &rows);
    missing = &selected;
    for (int32_t& index : tokens->index) index = rows[static_cast<size_t>(index)];
  }
  float* const computed = out + found * encoder_.output_dim();
  encoder_.encode(*missing, computed, num_threads);
  if (source() == before) words_.insert(before, *missing, computed);
}

}  // namespace elmo_fast
