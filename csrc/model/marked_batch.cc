#include "model/marked_batch.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace elmo_fast {
namespace {

// Checks a token's ids and returns whether the token is present.
bool is_present(const int64_t* ids, int64_t max_characters, int64_t n_char_ids, int64_t row, int64_t step) {
  bool any = false, valid = true;
  for (int64_t k = 0; k < max_characters; ++k) {
    any |= ids[k] > 0;
    valid &= static_cast<uint64_t>(ids[k]) < static_cast<uint64_t>(n_char_ids);
  }
  if (valid) return any;
  int64_t k = 0;
  while (k + 1 < max_characters && ids[k] >= 0 && ids[k] < n_char_ids) ++k;
  throw std::invalid_argument("char_ids: expected ids from 0 to " + std::to_string(n_char_ids - 1) + ", got " +
                              std::to_string(ids[k]) + " at (" + std::to_string(row) + ", " + std::to_string(step) +
                              ", " + std::to_string(k) + ")");
}

}  // namespace

MarkedBatch add_markers(const int64_t* char_ids, const int64_t* lengths, int64_t batch_size, int64_t num_timesteps,
                        int64_t max_characters, int64_t n_char_ids, const int64_t* bos, const int64_t* eos,
                        bool* mask) {
  MarkedBatch batch;
  for (int64_t b = 0; b < batch_size; ++b) {
    const int64_t* const row = char_ids + b * num_timesteps * max_characters;
    bool* const present = mask + b * (num_timesteps + 2);
    std::fill(present, present + num_timesteps + 2, false);
    if (lengths && (lengths[b] < 0 || lengths[b] > num_timesteps))
      throw std::invalid_argument("lengths[" + std::to_string(b) + "]: expected 0 to " + std::to_string(num_timesteps) +
                                  ", got " + std::to_string(lengths[b]));
    int64_t tokens = 0;
    for (int64_t t = 0; t < num_timesteps; ++t) {
      present[t + 1] = is_present(row + t * max_characters, max_characters, n_char_ids, b, t);
      if (lengths) present[t + 1] = t < lengths[b];
      tokens += present[t + 1];
    }
    present[0] = present[tokens + 1] = true;
    const int64_t length = std::count(present, present + num_timesteps + 2, true);
    for (int64_t t = 0; t < num_timesteps + 2; ++t) {
      if (!present[t] && t >= length) continue;
      const int64_t* ids = bos;
      if (t > 0) ids = t == tokens + 1 ? eos : row + (t - 1) * max_characters;
      batch.char_ids.insert(batch.char_ids.end(), ids, ids + max_characters);
      batch.positions.push_back(b * (num_timesteps + 2) + t);
    }
  }
  return batch;
}

}  // namespace elmo_fast
