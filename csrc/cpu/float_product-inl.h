// Products in float32 arithmetic: a register tile and, built from it, a block of rows by one panel. Weights are
// float32, or bfloat16 widened in registers, which halves the bytes to read for a single sentence.
//
// Bits: an element is summed over ascending k with fused multiply-adds within a chunk of kChunk, starting from zero;
// chunks are added in ascending order. Neither the tile's shape nor the vector width matters, so every batch, thread
// count and instruction set gives the same result.
//
// Speed: weights are read as a stream. One chunk of one unit (16 KB of floats) stays in L1 while all row tiles of the
// block use it. With one to three rows the stream is the limit, so several units are read side by side to have enough
// independent accumulators; with more rows the next chunk is prefetched into L2 while the row tiles of the current one
// are computed.
#pragma once

#include "cpu/product-inl.h"

namespace elmo_fast {
namespace {

constexpr int kPrefetchRows =
    4;  // with fewer rows the hardware's prefetcher does better: one row is 8-13% slower with ours

// Weights of one format: kStep k-values of a unit take kStepBytes; vector(v, i) is register v for the i-th k of them.
template <class V>
struct Float32Weights {
  static constexpr int kStep = 1, kStepBytes = 4 * kUnit;
  static typename V::F load(const char* p, int v, int) {
    return V::load(reinterpret_cast<const float*>(p) + v * V::kWidth);
  }
};

template <class V>
struct Bfloat16Weights {
  static constexpr int kStep = 2, kStepBytes = 4 * kUnit;
  static typename V::F load(const char* p, int v, int i) {
    const float* pairs = reinterpret_cast<const float*>(p) + v * V::kWidth;
    return i == 0 ? V::load_low_halves(pairs) : V::load_high_halves(pairs);
  }
};

// acc[r][v] += a[r][i] * w[.][i][.] for the first `kCount` k-values of a step.
template <class V, class W, int R, int U, int kCount = W::kStep>
ELMO_FAST_INLINE void multiply_add(const float* a, ptrdiff_t lda, const char* w, ptrdiff_t unit_stride,
                                   typename V::F (&acc)[R][U * kUnit / V::kWidth]) {
  using F = typename V::F;
  constexpr int kVectors = kUnit / V::kWidth;
  constexpr int N = U * kVectors;
#pragma GCC unroll 2
  for (int i = 0; i < kCount; ++i) {
    if constexpr (R <= N) {  // hold the rows' values, read each weight vector once
      F x[R];
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) x[r] = V::set1(a[r * lda + i]);
#pragma GCC unroll 16
      for (int v = 0; v < N; ++v) {
        const F b = W::load(w + (v / kVectors) * unit_stride, v % kVectors, i);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) acc[r][v] = V::fma(x[r], b, acc[r][v]);
      }
    } else {  // hold the weight vectors, broadcast each row's value once
      F b[N];
#pragma GCC unroll 16
      for (int v = 0; v < N; ++v) b[v] = W::load(w + (v / kVectors) * unit_stride, v % kVectors, i);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const F x = V::set1(a[r * lda + i]);
#pragma GCC unroll 16
        for (int v = 0; v < N; ++v) acc[r][v] = V::fma(x, b[v], acc[r][v]);
      }
    }
  }
}

// tile[r][u * 16 + j] (+)= sum_k a[r][k] * w[u][k][j] over one chunk; R rows, U units. For every four steps, kLines
// cache lines of each unit's next chunk are prefetched.
template <class V, class W, int R, int U, int kLines>
void micro_tile(const float* a, ptrdiff_t lda, const char* w, ptrdiff_t unit_stride, int64_t depth, bool first,
                float* tile, const char* next) {
  using F = typename V::F;
  constexpr int N = U * kUnit / V::kWidth;
  constexpr int kFour = 4 * W::kStep;
  F acc[R][N];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < N; ++v) acc[r][v] = V::zero();
  }
  int64_t k = 0;
  for (; k + kFour <= depth; k += kFour, w += 4 * W::kStepBytes) {
#pragma GCC unroll 16
    for (int i = 0; i < U * kLines; ++i)
      V::prefetch(reinterpret_cast<const float*>(next + (i / kLines) * unit_stride + (i % kLines) * 64));
    next += kLines * 64;
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i)
      multiply_add<V, W, R, U>(a + k + i * W::kStep, lda, w + i * W::kStepBytes, unit_stride, acc);
  }
  for (; k + W::kStep <= depth; k += W::kStep, w += W::kStepBytes)
    multiply_add<V, W, R, U>(a + k, lda, w, unit_stride, acc);
  if (k < depth) multiply_add<V, W, R, U, 1>(a + k, lda, w, unit_stride, acc);
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < N; ++v) {
      float* p = tile + r * kPanel + v * V::kWidth;
      V::store(p, first ? acc[r][v] : V::add(V::load(p), acc[r][v]));
    }
  }
}

// The largest number of units for which R rows leave enough accumulators.
template <class V>
constexpr int units_for(int rows) {
  const int vectors = kUnit / V::kWidth;
  for (int u = kGateUnits; u > 1; u /= 2)
    if (rows * u * vectors <= V::kMaxAccumulators) return u;
  return 1;
}

// Tile heights that do not occur with this many lines are not compiled: see one_chunk.
template <class V>
constexpr int lines_compiled(int rows, int lines) {
  const int least = lines == 1 ? 3 * V::kMaxRows / 4 : lines == 2 ? V::kMaxRows / 2 : kPrefetchRows;
  return V::kPrefetches && rows >= least ? lines : 0;
}

// Calls micro_tile<R, U> for a run-time number of rows; instantiates only the shapes that fit the registers.
template <class V, class W, int U, int kLines, int R = V::kMaxRows>
void micro_tile_rows(int rows, const float* a, ptrdiff_t lda, const char* w, ptrdiff_t unit_stride, int64_t depth,
                     bool first, float* tile, const char* next) {
  if constexpr (R > 1) {
    if (rows < R || U > units_for<V>(R)) {
      micro_tile_rows<V, W, U, kLines, R - 1>(rows, a, lda, w, unit_stride, depth, first, tile, next);
      return;
    }
  }
  micro_tile<V, W, R, U, lines_compiled<V>(R, kLines)>(a, lda, w, unit_stride, depth, first, tile, next);
}

// Weights: Float32Weights or Bfloat16Weights.
template <class V, template <class> class Weights>
struct FloatProduct {
  using W = Weights<V>;
  static constexpr bool kPacksRows = false, kRoundsToIntegers = false;
  static int64_t row_bytes(int64_t depth) { return depth * static_cast<int64_t>(sizeof(float)); }
  static void store(void* row, int64_t column, const float* values) {
    __builtin_memcpy(static_cast<float*>(row) + column, values, kUnit * sizeof(float));
  }
  template <class Finish>
  static void for_each_panel(const Gemm& g, int64_t unit_begin, int64_t unit_end, bool reverse, Finish finish) {
    walk_panels<FloatProduct>(g, unit_begin, unit_end, reverse, finish);
  }

  static void tile(const Gemm& g, int64_t row_begin, int64_t rows, int64_t first_unit, int units, int64_t next_unit,
                   float* tile) {
    const int64_t n_tiles = (rows + V::kMaxRows - 1) / V::kMaxRows;
    const int wide = units_for<V>(static_cast<int>((rows + n_tiles - 1) / n_tiles));
    const auto width = [&](int u) {  // the width of the group of units that starts at u
      const int left = units - u < wide ? units - u : wide;
      return left >= 4 ? 4 : left >= 2 ? 2 : 1;
    };
    const auto weights = [&](int64_t u, int64_t k) {
      return unit_of(g.w, u < units ? first_unit + u : next_unit) + k / W::kStep * W::kStepBytes;
    };
    const auto run = [&](int u, int64_t k0, const char* next) {
      const auto chunk = width(u) == 4 ? one_chunk<4> : width(u) == 2 ? one_chunk<2> : one_chunk<1>;
      chunk(g, row_begin, rows, k0, weights(u, k0), next, tile + u * kUnit);
    };
    const int64_t depth = g.w.depth;
    if (rows < kRowsOfChunks) {
      for (int u = 0; u < units; u += width(u))
        for (int64_t k = 0; k < depth; k += kChunk)
          run(u, k, k + kChunk < depth ? weights(u, k + kChunk) : weights(u + width(u), 0));
    } else {
      for (int64_t k = 0; k < depth; k += kChunk)
        for (int u = 0; u < units; u += width(u))
          run(u, k,
              u + width(u) < units ? weights(u + width(u), k)
              : k + kChunk < depth ? weights(0, k + kChunk)
                                   : weights(units, 0));
    }
  }

 private:
  // From this number of rows on, all units of a panel use one chunk of the rows before the next chunk begins, so that
  // the rows come from L2. Fewer rows are limited by the weights, and read each unit from end to end as one stream.
  static constexpr int64_t kRowsOfChunks = 24;

  // Multiplies one chunk of U units, from k0 on, by all rows of the block. next: the weights to prefetch meanwhile.
  template <int U>
  static void one_chunk(const Gemm& g, int64_t row_begin, int64_t rows, int64_t k0, const char* w, const char* next,
                        float* tile) {
    const auto* a = reinterpret_cast<const float*>(row_of(g, row_begin)) + k0;
    const auto lda = g.lda / static_cast<ptrdiff_t>(sizeof(float));
    const int64_t n_tiles = (rows + V::kMaxRows - 1) / V::kMaxRows;
    const int64_t depth = g.w.depth - k0 < kChunk ? g.w.depth - k0 : kChunk;
    // One tile prefetches all of it, two prefetch half each, four or more a quarter each: evenly, at the pace of the
    // memory.
    const int lines = rows < kPrefetchRows ? 0 : n_tiles >= 4 ? 1 : n_tiles >= 2 ? 2 : 4;
    for (int64_t i = 0; i < n_tiles; ++i) {
      const int64_t begin = rows * i / n_tiles;  // tiles of equal height, so that none has a single row
      const int n = static_cast<int>(rows * (i + 1) / n_tiles - begin);
      const auto kernel = i * lines >= 4 || lines == 0 ? micro_tile_rows<V, W, U, 0>
                          : lines == 1                 ? micro_tile_rows<V, W, U, 1>
                          : lines == 2                 ? micro_tile_rows<V, W, U, 2>
                                                       : micro_tile_rows<V, W, U, 4>;
      kernel(n, a + begin * lda, lda, w, g.w.unit_bytes, depth, k0 == 0, tile + begin * kPanel,
             next + i * lines * (depth / (4 * W::kStep)) * 64);
    }
  }
};

}  // namespace
}  // namespace elmo_fast
