// Weights in the order in which the kernels read them.
//
// Output columns are grouped into units of kUnit; a unit holds its columns for every k side by side:
//   data[(unit * depth + k) * kUnit + j] = W[row_of(unit, j)][k].
// Which row of the PyTorch-oriented matrix stands at (unit, j) is the packer's choice: plain order for projections,
// pairs (transform, carry) for highways, panels of 16 cells x (i, f, g, o) for gates. Missing rows are zero.
#pragma once

#include <cstdint>
#include <vector>

#include "aligned_buffer.h"
#include "kernels.h"

namespace elmo_fast {

inline int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

// For each packed column the source row, or -1 for padding. Its length is a multiple of kUnit.
using ColumnOrder = std::vector<int64_t>;

ColumnOrder plain_order(int64_t rows);
// `groups` blocks of `size` rows (rows [g * size, (g + 1) * size) belong to group g), interleaved 16 by 16.
ColumnOrder interleaved_order(int64_t groups, int64_t size);

class PackedMatrix {
 public:
  PackedMatrix() = default;
  // weight: (rows, depth) row-major; order: which row each packed column holds.
  PackedMatrix(const float* weight, int64_t depth, const ColumnOrder& order);

  // Writes the original (rows, depth) matrix, bit for bit.
  void unpack(const ColumnOrder& order, float* weight) const;

  const float* data() const { return data_.data(); }
  int64_t depth() const { return depth_; }
  int64_t units() const { return units_; }
  int64_t bytes() const { return data_.bytes(); }

 private:
  int64_t depth_ = 0;
  int64_t units_ = 0;
  AlignedBuffer data_;
};

// A bias in packed column order, zero where the order has padding, and its inverse.
AlignedBuffer pack_vector(const float* values, const ColumnOrder& order);
void unpack_vector(const AlignedBuffer& packed, const ColumnOrder& order, float* values);

}  // namespace elmo_fast
