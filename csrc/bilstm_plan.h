// How a ragged batch is walked by the biLSTM.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace elmo_fast {

struct BiLstmCall;

// Rows by falling length, so that the rows active at step s are the first active[s]. A token's place is step-major:
// both directions share it (the backward one counts steps from each row's end).
struct BatchPlan {
  std::vector<int64_t> rows;     // (n): row of the batch, longest first, none of length 0
  std::vector<int64_t> lengths;  // (n)
  std::vector<int64_t> active;   // (steps)
  std::vector<int64_t> offset;   // (steps + 1): place of a step's first token

  int64_t tokens_before;  // in the plans before this one

  BatchPlan(const int64_t* batch_lengths, std::vector<int64_t> sorted_rows, int64_t tokens_before);
  int64_t n() const { return static_cast<int64_t>(rows.size()); }
  int64_t steps() const { return static_cast<int64_t>(active.size()); }
  int64_t tokens() const { return offset.back(); }
  int64_t active_at(int64_t step) const { return active[static_cast<size_t>(step)]; }
  int64_t offset_at(int64_t step) const { return offset[static_cast<size_t>(step)]; }
  // The time step of row r (of this plan) that a direction computes at this step.
  int64_t time(int64_t r, int64_t step, int direction) const {
    return direction == 0 ? step : lengths[static_cast<size_t>(r)] - 1 - step;
  }
};

// The whole batch, some hundred rows a plan, in ascending order of tokens_before.
std::vector<BatchPlan> plan_batch(const int64_t* lengths, int64_t batch_size);

// Steps whose input products are computed together, and the rows of the product. The product of many rows reads the
// weights once for many steps; but it should still be near (64 KB a row in the original model) when the steps read it.
struct InputChunks {
  struct Chunk {
    int64_t first, last;  // steps, last exclusive
    int64_t first_row;    // in `sources`, if there are any
    int64_t n_rows;
  };
  std::vector<Chunk> chunks;
  std::vector<int32_t> slots;    // (tokens): row of its chunk's product that a token reads; empty: one each, in order
  std::vector<int32_t> sources;  // row of the call's x that a row of the product is made of

  // One row a token.
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
