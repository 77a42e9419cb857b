// A batch of character ids with a sentence marker around every row.
#pragma once

#include <cstdint>
#include <vector>

namespace elmo_fast {

// Rows of num_timesteps + 2 positions. A token is present where any of its ids is above 0. <S> precedes the tokens, and
// </S> follows after as many positions as the row has tokens; if tokens are missing in between, </S> replaces a later
// token.
struct MarkedBatch {
  // The positions that are read: those of the mask and, since a row's length is the sum of its mask, the holes below
  // that length.
  std::vector<int64_t> char_ids;   // (n, max_characters)
  std::vector<int64_t> positions;  // (n): the index of each among the (batch_size, num_timesteps + 2)
};

// char_ids: (batch_size, num_timesteps, max_characters); bos, eos: (max_characters).
// lengths: (batch_size), the tokens of each row, at its beginning; or null: see above.
// mask: (batch_size, num_timesteps + 2), written: where there is a token or a marker.
// Throws std::invalid_argument for an id outside [0, n_char_ids) or a length outside [0, num_timesteps].
MarkedBatch add_markers(const int64_t* char_ids, const int64_t* lengths, int64_t batch_size, int64_t num_timesteps,
                        int64_t max_characters, int64_t n_char_ids, const int64_t* bos, const int64_t* eos, bool* mask);

}  // namespace elmo_fast
