// The order in which the biLSTM walks a ragged batch.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace elmo_fast {

struct BiLstmCall;

// Rows are assigned to lanes, each of which computes one token per step; the lanes active at step s are the first
// active[s].
//
// A step takes as long as reading the weights or as the arithmetic of its lanes, whichever is longer. When rows differ
// in length, short ones therefore follow one another in a lane: there are as many steps as the longest row has tokens,
// and nearly as many lanes at the last step as at the first, instead of many steps for a single row.
struct BatchPlan {
  struct Token {
    int32_t row, step;  // row of the batch; step counted in this row
  };
  // After this step a lane continues with another row.
  struct Turn {
    int64_t step, lane, ended, next;
  };
  std::vector<int64_t> active;    // (steps)
  std::vector<int64_t> offset;    // (steps + 1): index of a step's first token
  std::vector<Token> tokens;      // step-major, then by lane; shared by both directions
  std::vector<int64_t> last_row;  // (lanes)
  std::vector<Turn> turns;        // by step

  int64_t tokens_before;  // number of tokens in the plans before this one

  // rows: longest first, none of length 0. end_to_end: rows may share a lane.
  BatchPlan(const int64_t* batch_lengths, const std::vector<int64_t>& rows, bool end_to_end, int64_t tokens_before);
  int64_t lanes() const { return static_cast<int64_t>(last_row.size()); }
  int64_t steps() const { return static_cast<int64_t>(active.size()); }
  int64_t num_tokens() const { return offset.back(); }
  int64_t active_at(int64_t step) const { return active[static_cast<size_t>(step)]; }
  int64_t offset_at(int64_t step) const { return offset[static_cast<size_t>(step)]; }
  // The tokens of step 0 are in lane order, so row_at(lane) is a lane's first row.
  int64_t row_at(int64_t place) const { return tokens[static_cast<size_t>(place)].row; }
  // The time step that a direction computes; the backward direction counts from the end of its row.
  int64_t time_at(int64_t place, int direction) const {
    const Token& t = tokens[static_cast<size_t>(place)];
    return direction == 0 ? t.step : lengths_[t.row] - 1 - t.step;
  }

 private:
  const int64_t* lengths_;  // the batch's
};

// Plans the whole batch, a few hundred rows per plan, in ascending order of tokens_before.
std::vector<BatchPlan> plan_batch(const int64_t* lengths, int64_t batch_size, bool end_to_end);

// Groups of steps whose input products are computed together. A product of many rows reads the weights once for many
// steps, but its result (64 KB per row in the original model) should still be in cache when the steps read it.
struct InputChunks {
  struct Chunk {
    int64_t first, last;  // steps, last exclusive
    int64_t first_row;    // in `sources`, if there are any
    int64_t n_rows;
  };
  std::vector<Chunk> chunks;
  std::vector<int32_t>
      slots;  // (tokens): the row of its chunk's product that a token reads; empty: each token has its own, in order
  std::vector<int32_t> sources;  // the row of the call's x that each row of the product is computed from

  // One row per token.
  explicit InputChunks(const BatchPlan& plan);
  // One row for all tokens of a chunk that read the same row of x.
  InputChunks(const BatchPlan& plan, const BiLstmCall& call, int direction);

  int64_t largest() const {
    int64_t n = 0;
    for (const Chunk& c : chunks) n = std::max(n, c.n_rows);
    return n;
  }
};

}  // namespace elmo_fast
