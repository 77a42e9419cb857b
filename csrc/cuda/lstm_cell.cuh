// What the LSTM kernels share: rows and their ends, a finished output; and the step kernels' building blocks, a warp's
// cell and a block's four outputs for a tile of R rows.
//
//   c = sigmoid(i) * tanh(g) + sigmoid(f) * c, clipped;  m = sigmoid(o) * tanh(c)
//   h = W_P m, clipped;  y = h (+ the layer's input)
// Source: Sak et al. 2014, arXiv:1402.1128; clipping and skip connection as in bilm-tf.
#pragma once

#include "cuda/kernel_params.h"
#include "cuda/storage.cuh"

namespace elmo_fast {
namespace gpu {

// One step of one direction, and the location of its tokens.
struct Step {
  int number, direction;
  int n_active;         // rows that are at least this long if the host knows that, else all rows
  int64_t first_token;  // of this step
};

// Whether a step is launched for nothing, because the host did not know the number of steps.
GPU_DEVICE bool beyond_end(const LstmLayerParams& p, const Step& s) { return p.n_steps && s.number >= *p.n_steps; }

// A row of a tile at one step.
struct TileRow {
  int row;
  bool live;      // the row exists and its sentence is long enough
  int64_t token;  // its index in step order
};

GPU_DEVICE TileRow tile_row(const LstmLayerParams& p, const Step& s, int row, Mutant row_bound, Mutant length_bound) {
  const bool exists = holds(row_bound, row < s.n_active);
  return {row, exists && holds(length_bound, s.number < p.lengths[row]), s.first_token + row};
}

// The same for a row that is known to exist.
GPU_DEVICE TileRow existing_row(const LstmLayerParams& p, const Step& s, int row, Mutant length_bound) {
  return {row, holds(length_bound, s.number < p.lengths[row]), s.first_token + row};
}

// sums[4 * r + i] += four rows of weights times R rows of x, over this lane's part of k: one vector at `first` and at
// every `step` after it. depth and the rows' lengths are multiples of kPadded.
template <class T, int R>
GPU_DEVICE void dot_four(const T* const (&w)[4], const float* const (&x)[R], int first, int step, int depth,
                         float (&sums)[4 * R]) {
  constexpr int V = kVector<T>;
  const int end = mutated(Mutant::kDotDepth) ? depth + step : depth;
  for (int k = first; k < end; k += step) {
    float weights[4][V];
#pragma unroll
    for (int i = 0; i < 4; ++i) load_vector(w[i] + k, weights[i]);
#pragma unroll
    for (int r = 0; r < R; ++r) {
#pragma unroll
      for (int part = 0; part < V; part += 4) {
        float values[4];
        load_vector(x[r] + k + part, values);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
#pragma unroll
          for (int j = 0; j < 4; ++j) sums[4 * r + i] += weights[i][part + j] * values[j];
        }
      }
    }
  }
}

// Adds N values over the lanes of a warp; lane l returns the sum of value l % N. Each exchange halves the number of
// values that a lane still has to add: N - 1 shuffles and log2(32 / N) more, while N separate sums would take 5 N.
template <int N, int kAll = N>
GPU_DEVICE float warp_sums(const float (&v)[N]) {
  if constexpr (N == 1) {
    float sum = v[0];
#pragma unroll
    for (int bits = kAll; bits < kWarp; bits *= 2) sum += shuffle_xor(sum, bits);
    return sum;
  } else {
    // Each halving uses a new array: one whose size changes would be kept in memory, not in registers.
    float half[N / 2];
    const bool upper = (thread() & (N / 2)) != 0;
#pragma unroll
    for (int i = 0; i < N / 2; ++i) {
      const float kept = upper ? v[i + N / 2] : v[i];
      const float sent = upper ? v[i] : v[i + N / 2];
      half[i] = kept + shuffle_xor(sent, N / 2);
    }
    return warp_sums<N / 2, kAll>(half);
  }
}

GPU_DEVICE float clip(float x, float bound) {  // a NaN stays a NaN
  return bound > 0.0f ? (x > bound ? bound : x < -bound ? -bound : x) : x;
}

// The new c of a cell: from its gates before their activations, and from c.
GPU_DEVICE float next_state(const LstmLayerParams& p, float input, float forget, float candidate, float c,
                            Mutant without_clip) {
  const float state = sigmoid(input) * tanhf(candidate) + sigmoid(forget) * c;
  return mutated(without_clip) ? state : clip(state, p.cell_clip);
}

// Copies rows [first_row, first_row + R) of x into shared memory, with zeros from n_rows on.
template <int R>
GPU_DEVICE void stage_rows(const float* x, int row_size, int first_row, int n_rows, float* staged) {
  for (int i = thread(); i < R * row_size; i += block_size()) {
    const bool exists = holds(Mutant::kStageRowBound, first_row + i / row_size < n_rows);
    staged[i] = exists ? x[static_cast<int64_t>(first_row) * row_size + i] : 0.0f;
  }
}

// Updates one cell of R rows; the whole warp takes part.
//   w: (4 gates of the cell, gate_stride apart), of padded projection_dim weights each
//   staged: (R, padded projection_dim), the rows' h
template <class T, int R>
GPU_DEVICE void update_cell(const LstmLayerParams& p, const Step& s, int first_row, int cell, const T* w,
                            int64_t gate_stride, const float* staged) {
  const int lane = thread() % kWarp, row_size = padded(p.projection_dim);
  const T* gate_weights[4];
  const float* x[R];
  float sums[4 * R];
#pragma unroll
  for (int i = 0; i < 4; ++i) gate_weights[i] = w + i * gate_stride;
#pragma unroll
  for (int r = 0; r < R; ++r) x[r] = staged + r * row_size;
#pragma unroll
  for (int i = 0; i < 4 * R; ++i) sums[i] = 0.0f;
  dot_four<T, R>(gate_weights, x, lane * kVector<T>, kWarp * kVector<T>, row_size, sums);
  float gate = warp_sums<4 * R>(sums);

  // Lane 4 * r + i now has gate i of row r.
  const TileRow at = tile_row(p, s, first_row + lane / 4 % R, Mutant::kGatesRowBound, Mutant::kGatesLength);
  if (at.live) {
    const int64_t slot = p.slots[s.direction] ? p.slots[s.direction][at.token] : at.token - p.first_token;
    const T* xw = static_cast<const T*>(p.xw[s.direction]) + slot * 4 * p.cell_size;
    gate += to_float(xw[lane % 4 * p.cell_size + cell]);
  }
  const float forget = shuffle_xor(gate, 1), candidate = shuffle_xor(gate, 2), output = shuffle_xor(gate, 3);
  if (at.live && lane % 4 == 0 && lane < 4 * R) {
    const int64_t row = static_cast<int64_t>(s.direction) * p.n_rows + at.row;
    float* c = p.c + row * p.cell_size + cell;
    const float state = next_state(p, gate, forget, candidate, *c, Mutant::kCellClip);
    *c = state;
    p.m[row * padded(p.cell_size) + cell] = sigmoid(output) * tanhf(state);
  }
}

// Clips an output of the projection, adds the skip connection, and stores it; returns h.
template <class T>
GPU_DEVICE float finish_output(const LstmLayerParams& p, const Step& s, const TileRow& at, int output, float h) {
  if (!mutated(Mutant::kProjClip)) h = clip(h, p.proj_clip);
  const int d = s.direction;
  p.h[(static_cast<int64_t>(d) * p.n_rows + at.row) * padded(p.projection_dim) + output] = h;
  const int64_t token = at.token * p.projection_dim + output;
  float y = h;
  if (p.below[d] && !mutated(Mutant::kSkipOmitted)) y += to_float(static_cast<const T*>(p.below[d])[token]);
  if (p.above[d]) store(static_cast<T*>(p.above[d]) + token, y);
  const bool backward = d == 1 && !mutated(Mutant::kReverseTime);
  const int64_t time = backward ? p.lengths[at.row] - 1 - s.number : s.number;
  const int64_t position = (static_cast<int64_t>(p.rows[at.row]) * p.num_timesteps + time) * 2 + d;
  store(static_cast<T*>(p.out) + position * p.projection_dim + output, y);
  return h;
}

// Computes outputs first_output to first_output + 3 of R rows; the whole block takes part, and its warps divide the
// sum.
//   w: (4, padded cell_size) weights; rows beyond projection_dim are not read
//   partials: (warps, 4 * R) floats of shared memory
template <class T, int R>
GPU_DEVICE void project_outputs(const LstmLayerParams& p, const Step& s, int first_row, int first_output, const T* w,
                                float* partials) {
  const int warp = thread() / kWarp, n_warps = block_size() / kWarp, lane = thread() % kWarp;
  const int row_size = padded(p.cell_size);
  const float* m = p.m + static_cast<int64_t>(s.direction) * p.n_rows * row_size;
  const T* weights[4];
  const float* x[R];
  float sums[4 * R];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int left = p.projection_dim - 1 - first_output;
    weights[i] = w + static_cast<int64_t>(i < left ? i : left) * row_size;
  }
#pragma unroll
  for (int r = 0; r < R; ++r) {
    const int row = first_row + r < s.n_active ? first_row + r : s.n_active - 1;
    x[r] = m + static_cast<int64_t>(row) * row_size;
  }
#pragma unroll
  for (int i = 0; i < 4 * R; ++i) sums[i] = 0.0f;
  dot_four<T, R>(weights, x, thread() * kVector<T>, block_size() * kVector<T>, row_size, sums);
  const float sum = warp_sums<4 * R>(sums);
  if (lane < 4 * R) partials[warp * 4 * R + lane] = sum;
  sync_block(Mutant::kPartialsBarrier);

  if (thread() >= 4 * R) return;
  const TileRow at = tile_row(p, s, first_row + thread() / 4, Mutant::kProjectRowBound, Mutant::kProjectLength);
  const int output = first_output + thread() % 4;
  if (!at.live || !holds(Mutant::kOutputBound, output < p.projection_dim)) return;
  float h = 0.0f;
  for (int i = 0; i < n_warps; ++i) h += partials[i * 4 * R + thread()];
  finish_output<T>(p, s, at, output, h);
}

}  // namespace gpu
}  // namespace elmo_fast
