// Products on matrix tiles: bfloat16 in one, two or three terms, and int8.
//
// A tile of sums holds 16 rows by one unit. Up to 32 rows by two units are computed at once, so that each loaded tile
// is used twice; or up to 16 rows by four units if there are no more rows. The k-values of the rows are divided into
// chunks that stay in L1 while the weights stream past.
//
// Speed: sums leave the tiles through memory, and what follows (gates, cell update) needs vector instructions.
// Finishing one block is therefore interleaved with the tile products of the next one, which run on another unit of the
// processor.
//
// Bits: within a tile, an element is summed over ascending blocks of k, small terms first. Rows, units and threads have
// no influence.
#pragma once

#include "cpu/int8_product-inl.h"
#include "cpu/number_formats.h"
#include "cpu/product-inl.h"

namespace elmo_fast {
namespace {

constexpr int kTileRows = 16;
constexpr int kTileBytes = 1024;           // 16 rows of 64 bytes of weights
constexpr int64_t kTileChunkBytes = 1024;  // bytes of k-values per row and term, for 32 rows to stay in L1
constexpr int kTilePrefetchRows =
    24;  // with fewer rows the tiles only wait for the weights, and prefetching gets in the way

// Layout of rows of bfloat16 terms: [k / 32][term][k % 32].
template <class V, int kTerms>
struct Bfloat16Rows {
  static constexpr bool kPacksRows = true, kRoundsToIntegers = false;
  static int64_t row_bytes(int64_t depth) { return round_up_to(depth, kBf16Block) * 2 * kTerms; }

  static void pack_rows(const PackRowsArgs& p, int64_t row_begin, int64_t row_end) {
    for (int64_t r = row_begin; r < row_end; ++r) {
      const float* x = p.x + r * p.ldx;
      auto* out = reinterpret_cast<uint16_t*>(static_cast<char*>(p.out) + r * p.ldo);
      for (int64_t k = 0; k < p.depth; k += kBf16Block, out += kBf16Block * kTerms) {
        if (p.depth - k >= kBf16Block) {
          split<kBf16Block>(x + k, out);
        } else {
          float last[kBf16Block] = {};
          __builtin_memcpy(last, x + k, static_cast<size_t>(p.depth - k) * sizeof(float));
          split<kBf16Block>(last, out);
        }
      }
    }
  }

  static void store(void* row, int64_t column, const float* values) {
    split<kUnit>(values, static_cast<uint16_t*>(row) + column / kBf16Block * kBf16Block * kTerms + column % kBf16Block);
  }

 private:
  template <int kCount>
  static void split(const float* x, uint16_t* out) {
    for (int i = 0; i < kCount; ++i) {
      uint16_t terms[kTerms];
      split_bfloat16<kTerms>(x[i], terms);
#pragma GCC unroll 3
      for (int t = 0; t < kTerms; ++t) out[t * kBf16Block + i] = terms[t];
    }
  }
};

template <class Tiles, int kCount>
struct Bfloat16Tiles {
  static constexpr int kTerms = kCount;
  static constexpr int64_t kBlock = kBf16Block;
  template <int kSum, int kX, int kW>
  static void multiply() {
    Tiles::template multiply_bfloat16<kSum, kX, kW>();
  }
};

template <class Tiles>
struct Int8Tiles {
  static constexpr int kTerms = 1;
  static constexpr int64_t kBlock = kInt8Block;
  template <int kSum, int kX, int kW>
  static void multiply() {
    Tiles::template multiply_int8<kSum, kX, kW>();
  }
};

// The rows of a block that are not finished yet; each step of the next block finishes a share of them.
template <class Finish>
class Pending {
 public:
  explicit Pending(Finish& finish) : finish_(finish) {}
  void start(int64_t row_begin, int64_t rows, int64_t unit, int units, float* tile) {
    row_ = row_begin, end_ = row_begin + rows, rows_ = rows, unit_ = unit, units_ = units, tile_ = tile, owed_ = 0;
  }
  void advance(int64_t steps) {
    for (owed_ += rows_; owed_ >= steps && row_ < end_; owed_ -= steps) next();
  }
  void complete() {
    while (row_ < end_) next();
  }

 private:
  void next() {
    finish_(row_, unit_, units_, tile_);
    ++row_;
    tile_ += kPanel;
  }
  Finish& finish_;
  int64_t row_ = 0, end_ = 0, rows_ = 0, unit_ = 0, owed_ = 0;
  int units_ = 0;
  float* tile_ = nullptr;
};

// Rows: the format of the rows. Format: Bfloat16Tiles or Int8Tiles.
template <class V, class Tiles, class Rows, class Format>
struct AmxProduct : Rows {
  template <class Finish>
  static void for_each_panel(const Gemm& g, int64_t unit_begin, int64_t unit_end, bool reverse, Finish finish) {
    alignas(64) float tiles[2][kRowBlock * kPanel];
    const auto scaled = [&](int64_t row, int64_t u, int units, float* tile) {
      if constexpr (Rows::kRoundsToIntegers) scale_sums(g, row, u, units, 0, tile);
      finish(row, u, units, tile);
    };
    Pending pending(scaled);
    int current = 0, configured = 0;
    for_each_unit_group(unit_begin, unit_end, reverse, [&](int64_t u, int units, int64_t next) {
      const bool has_next = g.rows >= kTilePrefetchRows && next != u && next + units <= unit_end;
      for (int64_t row_begin = 0; row_begin < g.rows; row_begin += kRowBlock) {
        const int64_t rows = g.rows - row_begin < kRowBlock ? g.rows - row_begin : kRowBlock;
        const Block b{row_of(g, row_begin),
                      g.lda,
                      rows,
                      unit_of(g.w, u),
                      has_next && row_begin == 0 ? unit_of(g.w, next) : nullptr,
                      g.w.unit_bytes,
                      units,
                      round_up_to(g.w.depth, Format::kBlock) / Format::kBlock,
                      tiles[current]};
        const int64_t steps = step_count(b);
        compute(b, configured, [&] { pending.advance(steps); });
        pending.complete();
        pending.start(row_begin, rows, u, units, tiles[current]);
        current = 1 - current;
      }
    });
    pending.complete();
    Tiles::release();
  }

 private:
  struct Block {
    const char* a;
    ptrdiff_t lda;
    int64_t rows;
    const char *w, *next;  // next: the weights to prefetch, or null
    int64_t unit_bytes;
    int units;
    int64_t k_blocks;
    float* tile;
  };
  static constexpr int64_t kStepBytes = Format::kTerms * kTileBytes;  // of one unit's weights at one step
  static constexpr int64_t kRowStepBytes = Format::kTerms * 64;
  static constexpr int64_t kChunkBlocks = kTileChunkBytes / 64;

  // Row tiles: 32 rows each, the last one less.
  static int64_t row_tiles(const Block& b) { return (b.rows + 2 * kTileRows - 1) / (2 * kTileRows); }
  static int64_t step_count(const Block& b) {
    const int64_t last = b.rows - (row_tiles(b) - 1) * 2 * kTileRows;
    const int64_t wide = (b.units + 1) / 2, narrow = b.units == kGateUnits ? 1 : wide;
    return b.k_blocks * ((row_tiles(b) - 1) * wide + (last > kTileRows ? wide : narrow));
  }

  template <class Step>
  static void compute(const Block& b, int& configured, Step step) {
    const int64_t n_tiles = row_tiles(b);
    for (int64_t k0 = 0; k0 < b.k_blocks; k0 += kChunkBlocks) {
      const int64_t k1 = k0 + kChunkBlocks < b.k_blocks ? k0 + kChunkBlocks : b.k_blocks;
      for (int64_t i = 0; i < n_tiles; ++i) {
        const int64_t row = i * 2 * kTileRows;
        const int rows = static_cast<int>(b.rows - row < 2 * kTileRows ? b.rows - row : 2 * kTileRows);
        if (configured != rows) {
          Tiles::configure(rows < kTileRows ? rows : kTileRows, rows > kTileRows ? rows - kTileRows : 0);
          configured = rows;
        }
        int u = 0;
        if (rows > kTileRows) {
          for (; u + 2 <= b.units; u += 2) multiply<2, true>(b, i, n_tiles, u, k0, k1, step);
          if (u < b.units) multiply<1, true>(b, i, n_tiles, u, k0, k1, step);
        } else {
          if (b.units == 4) multiply<4, false>(b, i, n_tiles, u, k0, k1, step), u = 4;
          for (; u + 2 <= b.units; u += 2) multiply<2, false>(b, i, n_tiles, u, k0, k1, step);
          if (u < b.units) multiply<1, false>(b, i, n_tiles, u, k0, k1, step);
        }
      }
    }
  }

  // Row tile i by kUnits units over k-blocks [k0, k1). kLower: more than 16 rows.
  template <int kUnits, bool kLower, class Step>
  static void multiply(const Block& b, int64_t i, int64_t n_tiles, int u, int64_t k0, int64_t k1, Step& step) {
    float* sums = b.tile + i * 2 * kTileRows * kPanel + u * kUnit;
    for_each_sum<kUnits, kLower>([&](auto tile, int unit, int half) {
      constexpr int kTile = decltype(tile)::value;
      if (k0 == 0)
        Tiles::template zero<kTile>();
      else
        Tiles::template load<kTile>(sums + half * kTileRows * kPanel + unit * kUnit, kPanel * sizeof(float));
    });
    const char* x = b.a + i * 2 * kTileRows * b.lda + k0 * kRowStepBytes;
    const char* w = b.w + u * b.unit_bytes + k0 * kStepBytes;
    const char* next = b.next ? b.next + u * b.unit_bytes + k0 * kStepBytes : nullptr;
    // Each row tile prefetches its share of the cache lines of every step.
    constexpr int64_t kLines = kStepBytes / 64;
    const int64_t line_begin = kLines * i / n_tiles * 64, line_end = kLines * (i + 1) / n_tiles * 64;
    for (int64_t k = k0; k < k1; ++k, x += kRowStepBytes, w += kStepBytes) {
      if (next) {
        for (int unit = 0; unit < kUnits; ++unit)
          for (int64_t line = line_begin; line < line_end; line += 64)
            V::prefetch(reinterpret_cast<const float*>(next + unit * b.unit_bytes + line));
        next += kStepBytes;
      }
#pragma GCC unroll 3
      for (int j = Format::kTerms - 1; j >= 0; --j) {  // small products first
#pragma GCC unroll 3
        for (int t = 0; t < Format::kTerms - j; ++t)
          multiply_step<kUnits, kLower>(x + t * 64, b.lda, w + j * kTileBytes, b.unit_bytes, t == 0);
      }
      step();
    }
    for_each_sum<kUnits, kLower>([&](auto tile, int unit, int half) {
      Tiles::template store<decltype(tile)::value>(sums + half * kTileRows * kPanel + unit * kUnit,
                                                   kPanel * sizeof(float));
    });
  }

  // One block of k, one term of x and of w. Without `load_weights` the weights are in their tiles already; four units
  // share three tiles and reload them.
  template <int kUnits, bool kLower>
  static ELMO_FAST_INLINE void multiply_step(const char* x, ptrdiff_t lda, const char* w, int64_t unit_bytes,
                                             bool load_weights) {
    Tiles::template load<4>(x, lda);
    if (load_weights || kUnits == 4) Tiles::template load<6>(w, 64);
    Format::template multiply<0, 4, 6>();
    if constexpr (kLower) {
      Tiles::template load<5>(x + kTileRows * lda, lda);
      Format::template multiply<2, 5, 6>();
    }
    if constexpr (kUnits >= 2) {
      if (load_weights || kUnits == 4) Tiles::template load<7>(w + unit_bytes, 64);
      Format::template multiply<1, 4, 7>();
      if constexpr (kLower) Format::template multiply<3, 5, 7>();
    }
    if constexpr (kUnits == 4) {
      Tiles::template load<5>(w + 2 * unit_bytes, 64);
      Format::template multiply<2, 4, 5>();
      Tiles::template load<6>(w + 3 * unit_bytes, 64);
      Format::template multiply<3, 4, 6>();
    }
  }

  template <int kValue>
  struct Constant {
    static constexpr int value = kValue;
  };
  // body(tile, unit, half) for the tiles of sums in use.
  template <int kUnits, bool kLower, class Body>
  static void for_each_sum(Body body) {
    body(Constant<0>(), 0, 0);
    if constexpr (kUnits >= 2) body(Constant<1>(), 1, 0);
    if constexpr (kLower) {
      body(Constant<2>(), 0, 1);
      if constexpr (kUnits >= 2) body(Constant<3>(), 1, 1);
    } else if constexpr (kUnits == 4) {
      body(Constant<2>(), 2, 0);
      body(Constant<3>(), 3, 0);
    }
  }
};

template <class V, class Tiles>
using AmxInt8 = AmxProduct<V, Tiles, Int8Rows<V, int8_t, 0>, Int8Tiles<Tiles>>;
template <class V, class Tiles, int kTerms>
using AmxBfloat16 = AmxProduct<V, Tiles, Bfloat16Rows<V, kTerms>, Bfloat16Tiles<Tiles, kTerms>>;

}  // namespace
}  // namespace elmo_fast
