// Products of int8 weights and int8 rows. Sums of integers are exact: every instruction set gives the same bits.
//
// Each row is quantised on its own: its largest magnitude is 127 steps. The cells' outputs m, of magnitude at most 1,
// have the fixed step 1/127. A Dot is an instruction set's way of summing four products. Row is the type that it needs
// for the integers of a row, and kOffset is added to them; a unit's sums are kVectors of its Acc:
//   load(p, v): weights of register v for four k-values; broadcast(p): four values of a row; dot(acc, w, x).
// kMaxRows, kMaxUnits: the largest tile.
#pragma once

#include "cpu/number_formats.h"
#include "cpu/product-inl.h"

namespace elmo_fast {
namespace {

typedef int32_t __attribute__((may_alias)) TileInteger;  // sums are stored in a tile of floats until they are scaled

// Plain C++: the specification.
struct GenericDot {
  using Row = int16_t;
  static constexpr int32_t kOffset = 0;
  static constexpr int kVectors = 1, kMaxRows = 2, kMaxUnits = 1;
  struct __attribute__((may_alias)) Acc {
    int32_t v[kUnit];
    Acc operator+(const Acc& other) const {
      Acc sum;
      for (int j = 0; j < kUnit; ++j) sum.v[j] = v[j] + other.v[j];
      return sum;
    }
  };
  using Weights = const int8_t*;
  using Values = const Row*;
  static Acc zero() { return Acc{}; }
  static Weights load(const int8_t* p, int) { return p; }
  static Values broadcast(const Row* p) { return p; }
  static Acc dot(Acc acc, Weights w, Values x) {
    for (int j = 0; j < kUnit; ++j)
      for (int i = 0; i < 4; ++i) acc.v[j] += static_cast<int32_t>(w[j * 4 + i]) * x[i];
    return acc;
  }
};

constexpr int kInt8Chunk = 1024;  // k-values used by all row tiles in turn: 16 KB of a unit's weights

// tile[r][u * 16 + j] (+)= the products of one chunk, `quads` groups of four k-values; U units.
template <class Dot, int R, int U>
void int8_micro_tile(const typename Dot::Row* a, ptrdiff_t lda, const int8_t* w, ptrdiff_t unit_stride, int64_t quads,
                     bool first, float* tile) {
  constexpr int N = U * Dot::kVectors;
  typename Dot::Acc acc[R][N];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < N; ++v) acc[r][v] = Dot::zero();
  }
  for (int64_t q = 0; q < quads; ++q) {
    typename Dot::Weights b[N];
#pragma GCC unroll 16
    for (int v = 0; v < N; ++v)
      b[v] = Dot::load(w + (v / Dot::kVectors) * unit_stride + q * 4 * kUnit, v % Dot::kVectors);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const auto x = Dot::broadcast(a + r * lda + q * 4);
#pragma GCC unroll 16
      for (int v = 0; v < N; ++v) acc[r][v] = Dot::dot(acc[r][v], b[v], x);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
    for (int u = 0; u < U; ++u) {
      typename Dot::Acc* p = reinterpret_cast<typename Dot::Acc*>(tile + r * kPanel + u * kUnit);
#pragma GCC unroll 2
      for (int v = 0; v < Dot::kVectors; ++v) {
        const typename Dot::Acc sums = acc[r][u * Dot::kVectors + v];
        p[v] = first ? sums : p[v] + sums;
      }
    }
  }
}

template <class Dot, int U, int R = Dot::kMaxRows>
void int8_micro_tile_rows(int rows, const typename Dot::Row* a, ptrdiff_t lda, const int8_t* w, ptrdiff_t unit_stride,
                          int64_t quads, bool first, float* tile) {
  if constexpr (R > 1) {
    if (rows < R) {
      int8_micro_tile_rows<Dot, U, R - 1>(rows, a, lda, w, unit_stride, quads, first, tile);
      return;
    }
  }
  int8_micro_tile<Dot, R, U>(a, lda, w, unit_stride, quads, first, tile);
}

// Rounding of rows, shared by all int8 products.
template <class V, class Row, int32_t kOffset>
struct Int8Rows {
  static constexpr bool kPacksRows = true, kRoundsToIntegers = true;
  static int64_t row_bytes(int64_t depth) { return round_up_to(depth, kInt8Block) * static_cast<int64_t>(sizeof(Row)); }

  static void pack_rows(const PackRowsArgs& p, int64_t row_begin, int64_t row_end) {
    using F = typename V::F;
    const int64_t whole = p.depth / V::kWidth * V::kWidth, padded = round_up_to(p.depth, kInt8Block);
    for (int64_t r = row_begin; r < row_end; ++r) {
      const float* x = p.x + r * p.ldx;
      auto* out = reinterpret_cast<Row*>(static_cast<char*>(p.out) + r * p.ldo);
      F most = V::zero();
      for (int64_t k = 0; k < whole; k += V::kWidth) most = V::max_or_nan(V::abs(V::load(x + k)), most);
      alignas(64) float lanes[V::kWidth];
      V::store(lanes, most);
      float largest = 0.0f;
      for (const float lane : lanes) largest = lane > largest || lane != lane ? lane : largest;
      for (int64_t k = whole; k < p.depth; ++k) {
        const float magnitude = __builtin_fabsf(x[k]);
        if (magnitude > largest || magnitude != magnitude) largest = magnitude;
      }
      p.scales[r] = largest / kInt8Max;
      // Below the smallest normal number the inverse would overflow; such a row is treated as zero.
      const float inverse = largest >= 1.17549435e-38f ? kInt8Max / largest : largest != largest ? largest : 0.0f;
      for (int64_t k = 0; k < p.depth; ++k) out[k] = rounded(x[k] * inverse);
      for (int64_t k = p.depth; k < padded; ++k) out[k] = rounded(0.0f);
    }
  }

  // Stores 16 values of magnitude at most 1.
  static void store(void* row, int64_t column, const float* values) {
    Row* out = static_cast<Row*>(row) + column;
    for (int j = 0; j < kUnit; ++j) out[j] = rounded(values[j] * kInt8Max);
  }

 private:
  static Row rounded(float steps) { return static_cast<Row>(static_cast<int8_t>(nearest_integer(steps)) + kOffset); }
};

// tile[c] = (sum - what the offset added) * row's scale * column's scale, in place from int32 to float.
inline void scale_sums(const Gemm& g, int64_t row, int64_t first_unit, int units, int32_t offset, float* tile) {
  const float* scales = g.w.scales + first_unit * kUnit;
  const int32_t* sums = g.w.sums + first_unit * kUnit;
  const float row_scale = g.a_scales[row];
  for (int c = 0; c < units * kUnit; ++c) {
    // Unsigned, because the offset's part may wrap around; the difference never does.
    const uint32_t sum = static_cast<uint32_t>(reinterpret_cast<TileInteger*>(tile)[c]);
    const uint32_t added = static_cast<uint32_t>(offset) * static_cast<uint32_t>(sums[c]);
    tile[c] = static_cast<float>(static_cast<int32_t>(sum - added)) * (row_scale * scales[c]);
  }
}

template <class V, class Dot>
struct Int8Product : Int8Rows<V, typename Dot::Row, Dot::kOffset> {
  using Row = typename Dot::Row;

  template <class Finish>
  static void for_each_panel(const Gemm& g, int64_t unit_begin, int64_t unit_end, bool reverse, Finish finish) {
    walk_panels<Int8Product>(g, unit_begin, unit_end, reverse, finish);
  }

  static void tile(const Gemm& g, int64_t row_begin, int64_t rows, int64_t first_unit, int units, int64_t,
                   float* tile) {
    int u = 0;
    if constexpr (Dot::kMaxUnits > 1)
      for (; u + Dot::kMaxUnits <= units; u += Dot::kMaxUnits)
        some_units<Dot::kMaxUnits>(g, row_begin, rows, first_unit + u, tile + u * kUnit);
    for (; u < units; ++u) some_units<1>(g, row_begin, rows, first_unit + u, tile + u * kUnit);
    for (int64_t r = 0; r < rows; ++r) scale_sums(g, row_begin + r, first_unit, units, Dot::kOffset, tile + r * kPanel);
  }

 private:
  template <int U>
  static void some_units(const Gemm& g, int64_t row_begin, int64_t rows, int64_t unit, float* tile) {
    const auto* a = reinterpret_cast<const Row*>(row_of(g, row_begin));
    const auto* w = reinterpret_cast<const int8_t*>(unit_of(g.w, unit));
    const auto lda = g.lda / static_cast<ptrdiff_t>(sizeof(Row));
    const int64_t n_tiles = (rows + Dot::kMaxRows - 1) / Dot::kMaxRows;
    const int64_t depth = round_up_to(g.w.depth, 4);
    for (int64_t k0 = 0; k0 < depth; k0 += kInt8Chunk) {
      const int64_t n = depth - k0 < kInt8Chunk ? depth - k0 : kInt8Chunk;
      for (int64_t i = 0; i < n_tiles; ++i) {
        const int64_t begin = rows * i / n_tiles;
        const int height = static_cast<int>(rows * (i + 1) / n_tiles - begin);
        int8_micro_tile_rows<Dot, U>(height, a + begin * lda + k0, lda, w + k0 * kUnit, g.w.unit_bytes, n / 4, k0 == 0,
                                     tile + begin * kPanel);
      }
    }
  }
};

}  // namespace
}  // namespace elmo_fast
