#include "packed_matrix.h"

namespace elmo_fast {

ColumnOrder plain_order(int64_t rows) { return interleaved_order(1, rows); }

ColumnOrder interleaved_order(int64_t groups, int64_t size) {
  ColumnOrder order;
  order.reserve(static_cast<size_t>(groups * round_up(size, kUnit)));
  for (int64_t first = 0; first < size; first += kUnit)
    for (int64_t g = 0; g < groups; ++g)
      for (int64_t j = first; j < first + kUnit; ++j) order.push_back(j < size ? g * size + j : -1);
  return order;
}

PackedMatrix::PackedMatrix(const float* weight, int64_t depth, const ColumnOrder& order)
    : depth_(depth),
      units_(static_cast<int64_t>(order.size()) / kUnit),
      data_(static_cast<int64_t>(order.size()) * depth) {
  constexpr int64_t kBlock = 64;  // k-values moved at a time: source rows and destination both stay in L1
  for (int64_t u = 0; u < units_; ++u) {
    float* unit = data_.data() + u * depth * kUnit;
    for (int64_t k0 = 0; k0 < depth; k0 += kBlock) {
      const int64_t k1 = k0 + kBlock < depth ? k0 + kBlock : depth;
      for (int64_t j = 0; j < kUnit; ++j) {
        const int64_t row = order[static_cast<size_t>(u * kUnit + j)];
        for (int64_t k = k0; k < k1; ++k) unit[k * kUnit + j] = row < 0 ? 0.0f : weight[row * depth + k];
      }
    }
  }
}

void PackedMatrix::unpack(const ColumnOrder& order, float* weight) const {
  for (int64_t u = 0; u < units_; ++u) {
    const float* unit = data_.data() + u * depth_ * kUnit;
    for (int64_t j = 0; j < kUnit; ++j) {
      const int64_t row = order[static_cast<size_t>(u * kUnit + j)];
      if (row < 0) continue;
      for (int64_t k = 0; k < depth_; ++k) weight[row * depth_ + k] = unit[k * kUnit + j];
    }
  }
}

AlignedBuffer pack_vector(const float* values, const ColumnOrder& order) {
  AlignedBuffer packed(static_cast<int64_t>(order.size()));
  for (size_t i = 0; i < order.size(); ++i) packed.data()[i] = order[i] < 0 ? 0.0f : values[order[i]];
  return packed;
}

void unpack_vector(const AlignedBuffer& packed, const ColumnOrder& order, float* values) {
  for (size_t i = 0; i < order.size(); ++i)
    if (order[i] >= 0) values[order[i]] = packed.data()[i];
}

}  // namespace elmo_fast
