// The seam between the schedule and the arithmetic: one table of kernels an instruction set.
//
// Every kernel works on *units* of 16 output columns, so that work can be split among threads at any unit without
// changing a bit of the result. Pointers need no alignment; sizes are checked by the callers, never here.
//
// Order of summation (the same in every table, see cpu/gemm-inl.h): k ascends with fused multiply-adds inside chunks
// of kChunk, each chunk starting from zero; chunks are added in ascending order; bias or the other addend comes last.
#pragma once

#include <cstddef>
#include <cstdint>

namespace elmo_fast {

constexpr int kUnit = 16;      // output columns a unit
constexpr int kGateUnits = 4;  // a panel of 16 cells: units i, f, g, o side by side
constexpr int kPanel = kUnit * kGateUnits;
constexpr int kChunk = 256;     // k-values summed in one chain
constexpr int kRowBlock = 128;  // rows whose tile (kRowBlock x kPanel floats, 32 KB) stays in L1/L2
constexpr int kRowPad = 16;     // floats added to a row's stride: rows then never alias in a cache set

// A product x W^T with W packed by PackedMatrix: element (column u * 16 + j, k) at data[(u * depth + k) * 16 + j].
struct Gemm {
  const float* a;  // (rows, depth), row stride lda
  ptrdiff_t lda;
  int64_t rows;
  const float* w;
  int64_t depth;
};

// out[r][c] = sum + bias[c] for the columns of a unit range.
struct DenseArgs {
  Gemm gemm;
  const float* bias;  // (units * 16), or null
  float* out;
  ptrdiff_t ldo;
};

// One highway layer; units come in pairs (transform, carry) of the same 16 features. Rows of gemm.a and of out must be
// readable and writeable up to the next multiple of kUnit.
struct HighwayArgs {
  Gemm gemm;
  const float* bias;  // (2 * features) in unit order
  float* out;         // (rows, features); gemm.a is the layer's input x
  ptrdiff_t ldo;
};

// Gates and cell update of one time step.
struct LstmGatesArgs {
  Gemm gemm;        // a: h of the step before, w: state weights, units in panels of 16 cells x (i, f, g, o)
  const float* xw;  // (rows, 4 * cells) input product plus bias, columns in panel order
  ptrdiff_t ldxw;
  float* c;  // (rows, cells) cell state, updated in place
  ptrdiff_t ldc;
  float* m;  // (rows, cells) sigmoid(o) * tanh(c), the projection's input
  ptrdiff_t ldm;
  float cell_clip;  // 0 disables it
  bool reverse;     // walk the panels backwards: what the step before left in the cache is read first
};

// Projection, clip, skip connection and output of one time step.
struct LstmProjectArgs {
  Gemm gemm;  // a: m, w: projection
  float* h;   // (rows, units * 16) carried state, before the skip connection
  ptrdiff_t ldh;
  const float* skip;  // (rows, .) layer input added to the output, or null
  ptrdiff_t ldskip;
  float* y;  // (rows, units * 16) layer output in packed order, or null
  ptrdiff_t ldy;
  float* const* out;  // a row's destination in the caller's array, projection_dim floats each
  int64_t projection_dim;
  float proj_clip;  // 0 disables it
};

// The convolutions of one filter width over distinct windows, by table look-up.
struct CharCnnArgs {
  const float* table;  // (filter_width, n_char_ids, padded filters)
  const float* bias;   // (padded filters)
  int64_t n_char_ids;
  int64_t n_filters;
  int64_t padded_filters;  // n_filters rounded up to kUnit
  int64_t filter_width;
  int64_t max_characters;
  bool tanh;             // else relu
  const int32_t* ids;    // (rows, max_characters)
  const int32_t* tails;  // (rows): ids[tail..] of the row are all the same
  float* out;            // (rows, .) this width's first feature
  ptrdiff_t ldo;
};

struct KernelTable {
  const char* name;
  int vector_width;  // floats a register
  void (*dense)(const DenseArgs&, int64_t unit_begin, int64_t unit_end);
  void (*highway)(const HighwayArgs&, int64_t pair_begin, int64_t pair_end);
  void (*lstm_gates)(const LstmGatesArgs&, int64_t panel_begin, int64_t panel_end);
  void (*lstm_project)(const LstmProjectArgs&, int64_t unit_begin, int64_t unit_end);
  void (*char_cnn)(const CharCnnArgs&, int64_t row_begin, int64_t row_end);
  void (*sigmoid)(const float* x, float* y, int64_t n);  // n values, for tests
  void (*tanh)(const float* x, float* y, int64_t n);     // n values, for tests
};

// One exported symbol an instruction-set unit; only those of the architecture built for exist.
extern "C" {
const KernelTable* elmo_fast_kernels_generic();
const KernelTable* elmo_fast_kernels_avx2();
const KernelTable* elmo_fast_kernels_avx512();
const KernelTable* elmo_fast_kernels_neon();
}

}  // namespace elmo_fast
