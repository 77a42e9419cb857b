#include "cpu/packed_matrix.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/number_formats.h"

namespace elmo_fast {
namespace {

// Packs one row of `depth` values, rounded to the format, as column j of a unit.
void pack_float32(const float* row, int64_t depth, int64_t j, float* unit) {
  for (int64_t k = 0; k < depth; ++k) unit[k * kUnit + j] = row[k];
}

template <int kTerms>
constexpr int64_t term_index(int64_t k, int64_t j, int term) {
  return ((k / kBf16Block * kTerms + term) * kBf16Block + k % kBf16Block / 2 * 2) * kUnit + j * 2 + k % 2;
}

template <int kTerms>
void pack_bfloat16(const float* row, int64_t depth, int64_t j, uint16_t* unit) {
  for (int64_t k = 0; k < depth; ++k) {
    uint16_t terms[kTerms];
    split_bfloat16<kTerms>(row[k], terms);
    // A remainder of half a unit can round up to a tie, which would be split the other way when it is packed again.
    if (kTerms == 2) split_bfloat16<kTerms>(from_bfloat16(terms[0]) + from_bfloat16(terms[1]), terms);
    for (int i = 0; i < kTerms; ++i) unit[term_index<kTerms>(k, j, i)] = terms[i];
  }
}

template <int kTerms>
void unpack_bfloat16(const uint16_t* unit, int64_t depth, int64_t j, float* row) {
  for (int64_t k = 0; k < depth; ++k) {
    float sum = 0.0f;
    for (int i = kTerms - 1; i >= 0; --i) sum += from_bfloat16(unit[term_index<kTerms>(k, j, i)]);
    row[k] = sum;
  }
}

// Returns the scale for which 127 steps are the row's largest magnitude; NaN if the row has one.
float int8_scale(const float* row, int64_t depth) {
  float largest = 0.0f;
  for (int64_t k = 0; k < depth; ++k) {
    const float x = std::fabs(row[k]);
    if (x > largest || x != x) largest = x;
  }
  // 127 * scale must give the same scale again, or a matrix would change when it is unpacked and packed again.
  float scale = largest / kInt8Max;
  for (int i = 0; i < 4 && kInt8Max * scale / kInt8Max != scale; ++i) scale = kInt8Max * scale / kInt8Max;
  return scale;
}

int32_t pack_int8(const float* row, int64_t depth, int64_t j, float scale, int8_t* unit) {
  const float inverse = scale > 0.0f ? 1.0f / scale : 0.0f;
  int32_t sum = 0;
  for (int64_t k = 0; k < depth; ++k) {
    const float steps = row[k] * inverse;
    const int32_t q = nearest_integer(steps > kInt8Max ? kInt8Max : steps < -kInt8Max ? -kInt8Max : steps);
    const auto stored = static_cast<int8_t>(q);
    unit[(k / 4 * kUnit + j) * 4 + k % 4] = stored;
    sum += stored;
  }
  return sum;
}

int64_t bytes_per_unit(Precision format, int64_t depth) {
  switch (format) {
    case Precision::kFloat32:
      return depth * kUnit * 4;
    case Precision::kBf16x3:
      return round_up(depth, kBf16Block) * kUnit * 6;
    case Precision::kBf16x2:
      return round_up(depth, kBf16Block) * kUnit * 4;
    case Precision::kBfloat16:
      return round_up(depth, kBf16Block) * kUnit * 2;
    case Precision::kInt8:
      return round_up(depth, kInt8Block) * kUnit;
  }
  return 0;
}

}  // namespace

ColumnOrder plain_order(int64_t rows) { return interleaved_order(1, rows); }

ColumnOrder interleaved_order(int64_t groups, int64_t size) {
  ColumnOrder order;
  order.reserve(static_cast<size_t>(groups * round_up(size, kUnit)));
  for (int64_t first = 0; first < size; first += kUnit)
    for (int64_t g = 0; g < groups; ++g)
      for (int64_t j = first; j < first + kUnit; ++j) order.push_back(j < size ? g * size + j : -1);
  return order;
}

PackedMatrix::PackedMatrix(const float* weight, int64_t depth, const ColumnOrder& order, Precision format)
    : format_(format),
      depth_(depth),
      units_(static_cast<int64_t>(order.size()) / kUnit),
      unit_bytes_(bytes_per_unit(format, depth)),
      data_(units_ * unit_bytes_ / 4) {
  const auto columns = static_cast<int64_t>(order.size());
  if (format == Precision::kInt8) scales_ = AlignedBuffer(columns, true), sums_ = AlignedBuffer(columns, true);
  const std::vector<float> zeros(static_cast<size_t>(depth));
  // Rows are cut into blocks whose 16 sources and one destination both stay in L1. Only a block's last k can be padded.
  constexpr int64_t kBlock = 64;
  static_assert(kBlock % kBf16Block == 0 && kBlock % kInt8Block == 0);
  for (int64_t u = 0; u < units_; ++u) {
    std::memset(unit<char>(u) + unit_bytes_ - bytes_per_unit(format, 1), 0,
                static_cast<size_t>(bytes_per_unit(format, 1)));
    if (format == Precision::kInt8)
      for (int64_t j = 0; j < kUnit; ++j) {
        const int64_t row = order[static_cast<size_t>(u * kUnit + j)];
        scales_.data()[u * kUnit + j] = row < 0 ? 0.0f : int8_scale(weight + row * depth, depth);
      }
    for (int64_t k = 0; k < depth; k += kBlock) {
      const int64_t n = depth - k < kBlock ? depth - k : kBlock;
      const int64_t at = bytes_per_unit(format, k);
      for (int64_t j = 0; j < kUnit; ++j) {
        const int64_t row = order[static_cast<size_t>(u * kUnit + j)];
        const float* source = row < 0 ? zeros.data() : weight + row * depth + k;
        char* to = unit<char>(u) + at;
        switch (format) {
          case Precision::kFloat32:
            pack_float32(source, n, j, reinterpret_cast<float*>(to));
            break;
          case Precision::kBf16x3:
            pack_bfloat16<3>(source, n, j, reinterpret_cast<uint16_t*>(to));
            break;
          case Precision::kBf16x2:
            pack_bfloat16<2>(source, n, j, reinterpret_cast<uint16_t*>(to));
            break;
          case Precision::kBfloat16:
            pack_bfloat16<1>(source, n, j, reinterpret_cast<uint16_t*>(to));
            break;
          case Precision::kInt8:
            reinterpret_cast<int32_t*>(sums_.data())[u * kUnit + j] +=
                pack_int8(source, n, j, scales_.data()[u * kUnit + j], reinterpret_cast<int8_t*>(to));
            break;
        }
      }
    }
  }
}

PackedMatrix PackedMatrix::transposed(const float* weight, int64_t columns, const std::vector<int64_t>& depth_order) {
  PackedMatrix packed;
  packed.depth_ = static_cast<int64_t>(depth_order.size());
  packed.units_ = round_up(columns, kUnit) / kUnit;
  packed.unit_bytes_ = bytes_per_unit(Precision::kFloat32, packed.depth_);
  packed.data_ = AlignedBuffer(packed.units_ * packed.unit_bytes_ / 4);
  for (int64_t u = 0; u < packed.units_; ++u) {
    const int64_t n = std::min<int64_t>(kUnit, columns - u * kUnit);
    for (int64_t k = 0; k < packed.depth_; ++k) {
      const int64_t row = depth_order[static_cast<size_t>(k)];
      float* to = packed.unit<float>(u) + k * kUnit;
      for (int64_t j = 0; j < kUnit; ++j) to[j] = row < 0 || j >= n ? 0.0f : weight[row * columns + u * kUnit + j];
    }
  }
  return packed;
}

void PackedMatrix::unpack(const ColumnOrder& order, float* weight) const {
  for (int64_t u = 0; u < units_; ++u) {
    for (int64_t j = 0; j < kUnit; ++j) {
      const int64_t row = order[static_cast<size_t>(u * kUnit + j)];
      if (row < 0) continue;
      float* to = weight + row * depth_;
      switch (format_) {
        case Precision::kFloat32:
          for (int64_t k = 0; k < depth_; ++k) to[k] = unit<float>(u)[k * kUnit + j];
          break;
        case Precision::kBf16x3:
          unpack_bfloat16<3>(unit<uint16_t>(u), depth_, j, to);
          break;
        case Precision::kBf16x2:
          unpack_bfloat16<2>(unit<uint16_t>(u), depth_, j, to);
          break;
        case Precision::kBfloat16:
          unpack_bfloat16<1>(unit<uint16_t>(u), depth_, j, to);
          break;
        case Precision::kInt8:
          for (int64_t k = 0; k < depth_; ++k)
            to[k] = scales_.data()[u * kUnit + j] * unit<int8_t>(u)[(k / 4 * kUnit + j) * 4 + k % 4];
          break;
      }
    }
  }
}

PackedWeights PackedMatrix::view() const {
  return {data_.data(), unit_bytes_, depth_, scales_.data(), reinterpret_cast<const int32_t*>(sums_.data())};
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
