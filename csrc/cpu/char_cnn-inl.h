// Character convolutions without multiplications.
//
// A convolution over embedded characters is a sum of table rows: table[k][id] = W_k E[id]. A token has about seven
// characters followed by padding, whose windows are all equal, so only distinct windows are computed. The maximum
// commutes with the bias (rounding is monotonic), which is therefore added once.
#pragma once

#include "cpu/kernels.h"
#include "cpu/math-inl.h"

namespace elmo_fast {
namespace {

// Features [f0, f0 + N * kWidth) of one token.
template <class V, int N>
void convolve(const CharCnnArgs& p, const int32_t* ids, int64_t windows, int64_t f0, float* out) {
  using F = typename V::F;
  F best[N];
#pragma GCC unroll 8
  for (int v = 0; v < N; ++v) best[v] = V::set1(-__builtin_inff());
  for (int64_t w = 0; w < windows; ++w) {
    F sum[N];
    const float* row = p.table + ids[w] * p.padded_filters + f0;
#pragma GCC unroll 8
    for (int v = 0; v < N; ++v) sum[v] = V::load(row + v * V::kWidth);
    for (int64_t k = 1; k < p.filter_width; ++k) {
      row = p.table + (k * p.n_char_ids + ids[w + k]) * p.padded_filters + f0;
#pragma GCC unroll 8
      for (int v = 0; v < N; ++v) sum[v] = V::add(sum[v], V::load(row + v * V::kWidth));
    }
#pragma GCC unroll 8
    for (int v = 0; v < N; ++v) best[v] = V::max_or_nan(sum[v], best[v]);
  }
#pragma GCC unroll 8
  for (int v = 0; v < N; ++v) {
    const F x = V::add(best[v], V::load(p.bias + f0 + v * V::kWidth));
    V::store(out + v * V::kWidth, p.tanh ? tanh<V>(x) : V::max(V::zero(), x));
  }
}

template <class V>
void char_cnn(const CharCnnArgs& p, int64_t row_begin, int64_t row_end) {
  constexpr int kVectors = 4;  // the sums and maxima of four vectors fit into the registers of every instruction set
  constexpr int64_t kStep = kVectors * V::kWidth;
  alignas(64) float last[kStep];
  for (int64_t r = row_begin; r < row_end; ++r) {
    const int32_t* ids = p.ids + r * p.max_characters;
    const int64_t positions = p.max_characters - p.filter_width + 1;
    // Windows that start at the tail or later contain one repeated id.
    const int64_t windows = p.tails[r] + 1 < positions ? p.tails[r] + 1 : positions;
    float* out = p.out + r * p.ldo;
    int64_t f = 0;
    for (; f + kStep <= p.n_filters; f += kStep) convolve<V, kVectors>(p, ids, windows, f, out + f);
    for (; f + V::kWidth <= p.n_filters; f += V::kWidth) convolve<V, 1>(p, ids, windows, f, out + f);
    if (f < p.n_filters) {
      convolve<V, 1>(p, ids, windows, f, last);
      __builtin_memcpy(out + f, last, static_cast<size_t>(p.n_filters - f) * sizeof(float));
    }
  }
}

}  // namespace
}  // namespace elmo_fast
