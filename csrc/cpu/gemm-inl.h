// The one matrix product of this library: a register tile, and a block of rows by one panel built from it.
//
// Bits: an element's sum runs over ascending k with fused multiply-adds inside a chunk of kChunk, from zero; chunks are
// added in ascending order. Neither the tile's shape nor the vector width enters, so every batch, thread count and
// instruction set gives the same result.
//
// Speed: weights are read as a stream, [unit][k][16]. One chunk of one unit (16 KB) stays in L1 while all row tiles of
// the block pass over it. With one to three rows the stream is the limit, so several units are read side by side to
// have enough independent accumulators; with more rows the next chunk is prefetched into L2 while the row
// tiles of this one are computed.
#pragma once

#include "../kernels.h"

namespace elmo_fast {
namespace {

constexpr int kPrefetchRows = 4;  // below this the hardware's own prefetch does better (docs/performance.md)

// acc[r][v] += a[r][k] * w[.][k][.] for one k.
template <class V, int R, int U>
inline __attribute__((always_inline)) void multiply_add(const float* a, ptrdiff_t lda, const float* w,
                                                        ptrdiff_t unit_stride,
                                                        typename V::F (&acc)[R][U * kUnit / V::kWidth]) {
  using F = typename V::F;
  constexpr int kVectors = kUnit / V::kWidth;
  constexpr int N = U * kVectors;
  if constexpr (R <= N) {  // hold the rows' values, read each weight vector once
    F x[R];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) x[r] = V::set1(a[r * lda]);
#pragma GCC unroll 16
    for (int v = 0; v < N; ++v) {
      const F b = V::load(w + (v / kVectors) * unit_stride + (v % kVectors) * V::kWidth);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) acc[r][v] = V::fma(x[r], b, acc[r][v]);
    }
  } else {  // hold the weight vectors, broadcast each row's value once
    F b[N];
#pragma GCC unroll 16
    for (int v = 0; v < N; ++v) b[v] = V::load(w + (v / kVectors) * unit_stride + (v % kVectors) * V::kWidth);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const F x = V::set1(a[r * lda]);
#pragma GCC unroll 16
      for (int v = 0; v < N; ++v) acc[r][v] = V::fma(x, b[v], acc[r][v]);
    }
  }
}

// tile[r][u * 16 + j] (+)= sum_k a[r][k] * w[u][k][j] over one chunk; R rows, U units. Of each unit's next chunk
// kLines cache lines are prefetched for every four k.
template <class V, int R, int U, int kLines>
void micro_tile(const float* a, ptrdiff_t lda, const float* w, ptrdiff_t unit_stride, int64_t depth, bool first,
                float* tile, const float* next) {
  using F = typename V::F;
  constexpr int N = U * kUnit / V::kWidth;
  F acc[R][N];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < N; ++v) acc[r][v] = V::zero();
  }
  int64_t k = 0;
  for (; k + 4 <= depth; k += 4) {
#pragma GCC unroll 16
    for (int i = 0; i < U * kLines; ++i) V::prefetch(next + (i / kLines) * unit_stride + (i % kLines) * kUnit);
    next += kLines * kUnit;
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) multiply_add<V, R, U>(a + k + i, lda, w + (k + i) * kUnit, unit_stride, acc);
  }
  for (; k < depth; ++k) multiply_add<V, R, U>(a + k, lda, w + k * kUnit, unit_stride, acc);
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < N; ++v) {
      float* p = tile + r * kPanel + v * V::kWidth;
      V::store(p, first ? acc[r][v] : V::add(V::load(p), acc[r][v]));
    }
  }
}

// The most units that R rows leave accumulators for.
template <class V>
constexpr int units_for(int rows) {
  const int vectors = kUnit / V::kWidth;
  for (int u = kGateUnits; u > 1; u /= 2)
    if (rows * u * vectors <= V::kMaxAccumulators) return u;
  return 1;
}

// Calls micro_tile<R, U> for a run-time number of rows; instantiates only the shapes that fit the registers.
template <class V, int U, int kLines, int R = V::kMaxRows>
void micro_tile_rows(int rows, const float* a, ptrdiff_t lda, const float* w, ptrdiff_t unit_stride, int64_t depth,
                     bool first, float* tile, const float* next) {
  if constexpr (R > 1) {
    if (rows < R || U > units_for<V>(R)) {
      micro_tile_rows<V, U, kLines, R - 1>(rows, a, lda, w, unit_stride, depth, first, tile, next);
      return;
    }
  }
  micro_tile<V, R, U, kLines>(a, lda, w, unit_stride, depth, first, tile, next);
}

// One group of U units against all rows of the block.
template <class V, int U>
void gemm_units(const Gemm& g, const float* a, int64_t rows, const float* w, float* tile) {
  const ptrdiff_t unit_stride = g.depth * kUnit;
  const int64_t n_tiles = (rows + V::kMaxRows - 1) / V::kMaxRows;
  for (int64_t k0 = 0; k0 < g.depth; k0 += kChunk) {
    const int64_t depth = g.depth - k0 < kChunk ? g.depth - k0 : kChunk;
    const float* wk = w + k0 * kUnit;
    // The next chunk of the same unit, or, past the last one, the first chunk of the unit after it. Prefetching past
    // the matrix's end is harmless: it never faults.
    const float* next = wk + depth * kUnit + (k0 + depth < g.depth ? 0 : (U - 1) * unit_stride);
    // One tile prefetches all of it, two half each, four or more a quarter each: evenly, as the memory delivers it.
    const int lines = rows < kPrefetchRows ? 0 : n_tiles >= 4 ? 1 : n_tiles >= 2 ? 2 : 4;
    for (int64_t i = 0; i < n_tiles; ++i) {
      const int64_t begin = rows * i / n_tiles;  // tiles of equal height, so that none is left with one row
      const int n = static_cast<int>(rows * (i + 1) / n_tiles - begin);
      const float* ai = a + begin * g.lda + k0;
      float* to = tile + begin * kPanel;
      const auto run = [&](auto kernel) {
        kernel(n, ai, g.lda, wk, unit_stride, depth, k0 == 0, to, next + i * lines * (depth / 4) * kUnit);
      };
      if (i * lines >= 4 || lines == 0)
        run(micro_tile_rows<V, U, 0>);
      else if (lines == 1)
        run(micro_tile_rows<V, U, 1>);
      else if (lines == 2)
        run(micro_tile_rows<V, U, 2>);
      else
        run(micro_tile_rows<V, U, 4>);
    }
  }
}

// tile[r][c] = (x W^T)[row_begin + r][first_unit * 16 + c] for up to kRowBlock rows and up to kGateUnits units.
template <class V>
void gemm_panel(const Gemm& g, int64_t row_begin, int64_t rows, int64_t first_unit, int units, float* tile) {
  const float* a = g.a + row_begin * g.lda;
  const float* w = g.w + first_unit * g.depth * kUnit;
  const int64_t tallest =
      (rows + (rows + V::kMaxRows - 1) / V::kMaxRows - 1) / ((rows + V::kMaxRows - 1) / V::kMaxRows);
  const int wide = units_for<V>(static_cast<int>(tallest));
  int u = 0;
  for (; wide >= 4 && u + 4 <= units; u += 4) gemm_units<V, 4>(g, a, rows, w + u * g.depth * kUnit, tile + u * kUnit);
  for (; wide >= 2 && u + 2 <= units; u += 2) gemm_units<V, 2>(g, a, rows, w + u * g.depth * kUnit, tile + u * kUnit);
  for (; u < units; ++u) gemm_units<V, 1>(g, a, rows, w + u * g.depth * kUnit, tile + u * kUnit);
}

// Calls body(row_begin, rows) for each row block.
template <class Body>
void for_each_row_block(int64_t rows, Body body) {
  for (int64_t r = 0; r < rows; r += kRowBlock) body(r, rows - r < kRowBlock ? rows - r : kRowBlock);
}

}  // namespace
}  // namespace elmo_fast
