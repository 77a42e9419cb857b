// Weights in the order and number format that the kernels read.
//
// Output columns are grouped into units of kUnit; for every k, a unit stores its columns side by side. With j the
// column within its unit, and the depth padded with zeros to whole blocks:
//   float32             [unit][k][j]                          4 bytes per weight
//   bfloat16            [unit][k / 2][j][k % 2]               2
//   bf16x2, bf16x3      [unit][k / 32][term][k / 2][j][k % 2] 4, 6: a weight is the sum of its terms
//   int8                [unit][k / 4][j][k % 4]               1, and a scale per column: weight = scale * integer
// 32 k-values of bfloat16 and 64 of int8 are one matrix tile of 16 rows of 64 bytes.
//
// The packer chooses which row of the PyTorch-oriented matrix a column holds: plain order for projections, pairs
// (transform, carry) for highways, panels of 16 cells x (i, f, g, o) for gates. Missing rows are zero.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/kernels.h"
#include "cpu/precision.h"
#include "runtime/aligned_buffer.h"

namespace elmo_fast {

inline int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

// Bytes from one row to the next in the format that a kernel's products read.
inline ptrdiff_t packed_row_stride(const ProductKernels& kernel, int64_t depth) {
  return round_up(kernel.row_bytes(depth), 64) + kRowPad * static_cast<ptrdiff_t>(sizeof(float));
}

// The source row of each packed column, or -1 for padding. Its length is a multiple of kUnit.
using ColumnOrder = std::vector<int64_t>;

ColumnOrder plain_order(int64_t rows);
// `groups` blocks of `size` rows (rows [g * size, (g + 1) * size) belong to group g), interleaved 16 by 16.
ColumnOrder interleaved_order(int64_t groups, int64_t size);

class PackedMatrix {
 public:
  PackedMatrix() = default;
  // weight: (rows, depth) row-major; order: which row each packed column holds.
  PackedMatrix(const float* weight, int64_t depth, const ColumnOrder& order, Precision format = Precision::kFloat32);

  // Packs the transpose of a (depth, columns) matrix in float32: k is row depth_order[k] of it, or zeros for -1.
  static PackedMatrix transposed(const float* weight, int64_t columns, const std::vector<int64_t>& depth_order);

  // Writes the (rows, depth) matrix as rounded by the format, which in float32 is bit for bit. In every format, packing
  // it again gives the same packed matrix.
  void unpack(const ColumnOrder& order, float* weight) const;

  PackedWeights view() const;
  Precision format() const { return format_; }
  int64_t depth() const { return depth_; }
  int64_t units() const { return units_; }
  int64_t bytes() const { return data_.bytes() + scales_.bytes() + sums_.bytes(); }

 private:
  template <class T>
  T* unit(int64_t u) const {
    return reinterpret_cast<T*>(const_cast<float*>(data_.data())) + u * unit_bytes_ / static_cast<int64_t>(sizeof(T));
  }

  Precision format_ = Precision::kFloat32;
  int64_t depth_ = 0;
  int64_t units_ = 0;
  int64_t unit_bytes_ = 0;
  AlignedBuffer data_;
  AlignedBuffer scales_;  // int8: the scale of each column
  AlignedBuffer sums_;    // int8: the sum of each column's integers, as int32
};

// Packs a bias in column order, with zeros for padding; and the inverse.
AlignedBuffer pack_vector(const float* values, const ColumnOrder& order);
void unpack_vector(const AlignedBuffer& packed, const ColumnOrder& order, float* values);

}  // namespace elmo_fast
