// The seam between the schedule and the arithmetic: one kernel table per instruction set.
//
// Every kernel works on *units* of 16 output columns, so that work can be divided among threads at any unit without
// changing a bit of the result. Pointers need no alignment; sizes are checked by the callers, never here.
//
// Order of summation in float32 (the same in every table, see cpu/float_product-inl.h): k ascends with fused
// multiply-adds inside chunks of kChunk, each chunk starting from zero; chunks are added in ascending order; bias or
// the other addend comes last.
#pragma once

#include <cstddef>
#include <cstdint>

namespace elmo_fast {

// The kinds of arithmetic that a model can be packed for.
enum class Precision { kFloat32, kBf16x3, kBf16x2, kBfloat16, kInt8 };
constexpr int kPrecisions = 5;

constexpr int kUnit = 16;      // output columns per unit
constexpr int kGateUnits = 4;  // a panel of 16 cells: units i, f, g, o side by side
constexpr int kPanel = kUnit * kGateUnits;
constexpr int kChunk = 256;     // k-values summed in one chain
constexpr int kRowBlock = 128;  // rows whose tile (kRowBlock x kPanel floats, 32 KB) stays in L1/L2
constexpr int kRowPad = 16;     // floats added to a row's stride, so that rows never alias in a cache set

constexpr int kBf16Block = 32;  // bfloat16 k-values in a row of 64 bytes, the depth of a matrix tile
constexpr int kInt8Block = 64;  // int8 k-values in it

// The contents of a PackedMatrix, whose comment describes the layouts.
struct PackedWeights {
  const void* data;
  int64_t unit_bytes;  // from one unit of 16 columns to the next
  int64_t depth;
  const float* scales;  // int8: (units * 16), else null
  const int32_t* sums;  // int8: (units * 16) the sum of each column's integers, else null
};

// A product x W^T. Its rows are packed by the precision's pack_rows, or are floats if it has none.
struct Gemm {
  const void* a;
  ptrdiff_t lda;          // bytes from row to row
  const float* a_scales;  // int8: (rows), else null
  int64_t rows;
  PackedWeights w;
};

// Packs rows of floats as rows of a product.
struct PackRowsArgs {
  const float* x;
  ptrdiff_t ldx;
  int64_t depth;
  void* out;
  ptrdiff_t ldo;  // bytes
  float* scales;  // (rows), written by int8
};

// out[r][c] = sum + bias[c] for the columns of a unit range.
struct DenseArgs {
  Gemm gemm;
  const float* bias;  // (units * 16), or null
  float* out;
  ptrdiff_t ldo;
  ptrdiff_t out_panel =
      kPanel;  // floats from one panel of columns to the next; if not kPanel, unit ranges are whole panels
};

// One highway layer; units come in pairs (transform, carry) of the same 16 features. Rows of x and of out must be
// readable and writeable up to the next multiple of kUnit.
struct HighwayArgs {
  Gemm gemm;          // a: x, as rows of a product
  const float* bias;  // (2 * features) in unit order
  const float* x;     // (rows, features)
  ptrdiff_t ldx;
  float* out;  // (rows, features)
  ptrdiff_t ldo;
  float* transform = nullptr;  // (rows, features) relu(t) and g for a backward pass, rows ldo apart; or null
  float* gate = nullptr;       // likewise; null exactly when `transform` is
};

// Saved for the backward pass per token, layer and direction: for every panel of 16 cells the gates i, f, g, o and the
// cell state before its clip, 16 floats each; then the projected output before its clip, padded to kUnit.
constexpr int kSavedPanel = 5 * kUnit;
constexpr int kSavedCell = 4 * kUnit;  // offset of the cell state in its panel

// Gates and cell update of one time step.
struct LstmGatesArgs {
  Gemm gemm;               // a: h of the step before, w: state weights, units in panels of 16 cells x (i, f, g, o)
  const float* const* xw;  // (rows): each row's input product plus bias, kPanel floats of the first panel
  ptrdiff_t xw_panel;      // floats from there to those of the next panel
  float* c;                // (panels, c_rows, kUnit) cell state, updated in place
  int64_t c_rows;
  void* m;          // (rows, cells) sigmoid(o) * tanh(c), as rows of the projection's product
  ptrdiff_t ldm;    // bytes
  float* m_scales;  // int8: (rows), 1/127 when a row begins; becomes NaN if m has a NaN
  float cell_clip;  // 0 disables it
  bool reverse;     // walk the panels backwards, to read first what the previous step left in the cache
  float* saved;     // (rows, panels * kSavedPanel), or null
  ptrdiff_t ldsaved;
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
  float proj_clip;         // 0 disables it
  float* saved = nullptr;  // (rows, units * 16) h before its clip, or null
  ptrdiff_t ldsaved = 0;
};

// Backward through the cells of one time step: from the projected output's gradient to the gates'.
struct LstmBackwardArgs {
  Gemm gemm;           // a: gradient of h before its clip, w: the projection's transpose, units of 16 cells
  const float* saved;  // (rows, panels * kSavedPanel) of this step
  ptrdiff_t ldsaved;
  const float* c_before;  // (rows, .) cell state before the step: 16 floats a panel
  ptrdiff_t ldc_before;
  int64_t c_before_panel;  // floats from panel to panel
  bool clip_before;        // c_before is to be clipped
  float* dc;               // (rows, panels * 16) gradient of the cell state after the step in, before it out
  ptrdiff_t lddc;
  float* dgates;  // (rows, 4 * panels * 16) gradient of the gates' sums: all of i, then f, g, o
  ptrdiff_t lddgates;
  int64_t padded_cells;  // panels * 16 of the whole layer
  float* m;              // (rows, panels * 16) sigmoid(o) * tanh(c) again
  ptrdiff_t ldm;
  float cell_clip;  // 0 disables it
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

// The kernels of one precision. All are null if an instruction set has no arithmetic of its own for it.
struct ProductKernels {
  int64_t (*row_bytes)(int64_t depth);                                         // of a row of a product
  void (*pack_rows)(const PackRowsArgs&, int64_t row_begin, int64_t row_end);  // null if rows are floats
  void (*dense)(const DenseArgs&, int64_t unit_begin, int64_t unit_end);
  void (*highway)(const HighwayArgs&, int64_t pair_begin, int64_t pair_end);
  void (*lstm_gates)(const LstmGatesArgs&, int64_t panel_begin, int64_t panel_end);
  void (*lstm_project)(const LstmProjectArgs&, int64_t unit_begin, int64_t unit_end);
  void (*lstm_backward)(const LstmBackwardArgs&, int64_t panel_begin, int64_t panel_end);  // only float32 has it
};

struct KernelTable {
  const char* name;
  ProductKernels products[kPrecisions];  // by Precision
  void (*char_cnn)(const CharCnnArgs&, int64_t row_begin, int64_t row_end);
  void (*sigmoid)(const float* x, float* y, int64_t n);  // n values, for tests
  void (*tanh)(const float* x, float* y, int64_t n);     // n values, for tests

  const ProductKernels& operator[](Precision precision) const { return products[static_cast<int>(precision)]; }
};

// One exported symbol per instruction-set unit; only those of the target architecture exist.
extern "C" {
const KernelTable* elmo_fast_kernels_generic();
const KernelTable* elmo_fast_kernels_avx2();
const KernelTable* elmo_fast_kernels_avx512();
const KernelTable* elmo_fast_kernels_neon();
// These extend another unit's table.
const ProductKernels* elmo_fast_int8_avx2vnni();
const ProductKernels* elmo_fast_int8_avx512vnni();
const ProductKernels* elmo_fast_products_amx();  // kPrecisions entries, of which float32's is empty
}

}  // namespace elmo_fast
