// Every precision of every table: products, one whole layer, the token encoder; packing; rounding.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "cpu/number_formats.h"
#include "cpu/packed_matrix.h"
#include "model/bilstm.h"
#include "model/token_encoder.h"
#include "random_model.h"
#include "test_tables.h"

using namespace elmo_fast;

namespace {

constexpr Precision kAll[] = {Precision::kFloat32, Precision::kBf16x3, Precision::kBf16x2, Precision::kBfloat16,
                              Precision::kInt8};

// Sanitizers look at memory accesses, and take ten times as long: they repeat fewer calls of the same shapes.
#ifdef ELMO_FAST_SANITIZED
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

// Bound on the error of a sum of products of total variance about 1 whose terms are rounded in this precision.
double sum_tolerance(Precision p) {
  switch (p) {
    case Precision::kFloat32:
    case Precision::kBf16x3:
      return 1e-5;
    case Precision::kBf16x2:
      return 1e-4;
    case Precision::kBfloat16:
      return 2e-2;
    case Precision::kInt8:
      return 1e-1;
  }
  return 0;
}

// Rows in the format of a product, each followed by a guard of NaN bytes.
struct Rows {
  std::vector<char> data;
  Values scales;
  ptrdiff_t stride;
  Rows(const ProductKernels& kernel, const Values& x, int64_t rows, int64_t depth)
      : scales(static_cast<size_t>(rows), NAN), stride(round_up(kernel.row_bytes(depth), 64) + 64) {
    data.assign(static_cast<size_t>(rows * stride), static_cast<char>(0xff));
    if (kernel.pack_rows) {
      kernel.pack_rows({x.data(), depth, depth, data.data(), stride, scales.data()}, 0, rows);
    } else {
      for (int64_t r = 0; r < rows; ++r)
        std::memcpy(&data[static_cast<size_t>(r * stride)], &x[static_cast<size_t>(r * depth)],
                    static_cast<size_t>(depth) * sizeof(float));
    }
  }
};

Values dense(const ProductKernels& kernel, Precision format, const Values& x, int64_t rows, int64_t depth,
             const Values& w, int64_t columns, const Values& bias, int64_t split) {
  const ColumnOrder order = plain_order(columns);
  const PackedMatrix packed(w.data(), depth, order, format);
  const AlignedBuffer b = pack_vector(bias.data(), order);
  const auto ldo = static_cast<int64_t>(order.size());
  Values out(static_cast<size_t>(rows * ldo), NAN);
  const Rows a(kernel, x, rows, depth);
  const DenseArgs args{{a.data.data(), a.stride, a.scales.data(), rows, packed.view()}, b.data(), out.data(), ldo};
  for (int64_t u = 0; u < packed.units(); u += split) kernel.dense(args, u, std::min(u + split, packed.units()));
  return out;
}

}  // namespace

TEST_CASE("products of every precision, table, shape and split") {
  Random random(1);
  for (const auto& [rows, depth, columns] : {std::tuple<int64_t, int64_t, int64_t>{1, 1, 1},
                                             {1, 64, 64},
                                             {2, 33, 17},
                                             {5, 200, 70},
                                             {16, 96, 64},
                                             {17, 65, 64},
                                             {32, 520, 130},
                                             {33, 1030, 48},
                                             {50, 31, 200},
                                             {131, 130, 64},
                                             {260, 70, 33}}) {
    CAPTURE(rows);
    CAPTURE(depth);
    CAPTURE(columns);
    const Values x = random.floats(rows * depth, 1.0), w = random.floats(columns * depth, 1 / std::sqrt(depth)),
                 bias = random.floats(columns, 1.0);
    Values int8;
    for (const KernelTable* table : all_tables())
      for (const Precision p : kAll) {
        const ProductKernels& kernel = (*table)[p];
        if (!kernel.dense) continue;
        CAPTURE(std::string(table->name));
        CAPTURE(name_of(p));
        const Values want = dense(kernel, p, x, rows, depth, w, columns, bias, 1000);
        const int64_t ldo = round_up(columns, kUnit);
        for (int64_t r = 0; r < rows; r += 1 + rows / 7) {
          const std::vector<double> y = multiply64(w.data(), columns, depth, &x[static_cast<size_t>(r * depth)]);
          for (int64_t n = 0; n < columns; ++n)
            REQUIRE(std::fabs(y[static_cast<size_t>(n)] + bias[static_cast<size_t>(n)] -
                              want[static_cast<size_t>(r * ldo + n)]) < sum_tolerance(p));
        }
        for (int64_t split = kSanitized ? 3 : 1; split <= (kSanitized ? 3 : 4); ++split)
          REQUIRE(same_bits(dense(kernel, p, x, rows, depth, w, columns, bias, split), want));
        // The first rows alone: a row's bits do not depend on the rows beside it.
        for (const int64_t some : {int64_t{1}, rows / 2, rows - 1}) {
          if (some < 1 || (kSanitized && some != rows / 2)) continue;
          const Values part = dense(kernel, p, x, some, depth, w, columns, bias, 1000);
          REQUIRE(std::memcmp(part.data(), want.data(), part.size() * sizeof(float)) == 0);
        }
        if (p == Precision::kInt8) {  // sums of integers are exact: one result everywhere
          if (int8.empty()) int8 = want;
          REQUIRE(same_bits(want, int8));
        }
      }
  }
}

TEST_CASE("int8 sums stay exact where every product is the largest") {
  Random random(7);
  constexpr int64_t kRows = 7, kDepth = 1030, kColumns = 32;
  Values x, w, bias(kColumns, 0.0f);
  for (int64_t i = 0; i < kRows * kDepth; ++i) x.push_back(i < kDepth || random.integer(0, 1) ? 1.0f : -1.0f);
  for (int64_t i = 0; i < kColumns * kDepth; ++i) w.push_back(i < kDepth || random.integer(0, 1) ? -1.0f : 1.0f);
  for (const KernelTable* table : all_tables()) {
    CAPTURE(std::string(table->name));
    const ProductKernels& kernel = (*table)[Precision::kInt8];
    if (!kernel.dense) continue;
    const Values got = dense(kernel, Precision::kInt8, x, kRows, kDepth, w, kColumns, bias, 1000);
    for (int64_t r = 0; r < kRows; ++r) {
      const std::vector<double> y = multiply64(w.data(), kColumns, kDepth, &x[static_cast<size_t>(r * kDepth)]);
      for (size_t n = 0; n < kColumns; ++n)
        REQUIRE(std::fabs(y[n] - got[static_cast<size_t>(r) * kColumns + n]) < 1e-3);
    }
  }
}

TEST_CASE("bfloat16 without matrix tiles is float32 arithmetic on rounded weights") {
  Random random(2);
  const int64_t rows = 9, depth = 301, columns = 50;
  const Values x = random.floats(rows * depth, 1.0), w = random.floats(columns * depth, 0.1),
               bias = random.floats(columns, 1.0);
  Values rounded = w;
  for (float& v : rounded) v = from_bfloat16(to_bfloat16(v));
  for (const KernelTable* table : all_tables()) {
    const ProductKernels& kernel = (*table)[Precision::kBfloat16];
    if (!kernel.dense || kernel.pack_rows) continue;
    CAPTURE(std::string(table->name));
    CHECK(same_bits(
        dense(kernel, Precision::kBfloat16, x, rows, depth, w, columns, bias, 1000),
        dense((*table)[Precision::kFloat32], Precision::kFloat32, x, rows, depth, rounded, columns, bias, 1000)));
  }
}

TEST_CASE("packing twice changes nothing; three terms hold every bit") {
  Random random(3);
  for (const int64_t depth : {1, 31, 32, 64, 70, 513}) {
    const int64_t size = 21, rows = 4 * size;
    const ColumnOrder order = interleaved_order(4, size);
    const Values w = random.floats(rows * depth, 0.3);
    for (const Precision p : kAll) {
      CAPTURE(name_of(p));
      CAPTURE(depth);
      const PackedMatrix packed(w.data(), depth, order, p);
      Values once(w.size()), twice(w.size());
      packed.unpack(order, once.data());
      const PackedMatrix again(once.data(), depth, order, p);
      again.unpack(order, twice.data());
      CHECK(same_bits(once, twice));
      CHECK(packed.bytes() == again.bytes());
      CHECK(std::memcmp(packed.view().data, again.view().data,
                        static_cast<size_t>(packed.view().unit_bytes * packed.units())) == 0);
      if (p == Precision::kFloat32 || p == Precision::kBf16x3) CHECK(same_bits(once, w));
      double error = 0;
      for (size_t i = 0; i < w.size(); ++i) error = std::max(error, std::fabs(double{w[i]} - once[i]));
      CHECK(error < sum_tolerance(p) / 4);
    }
  }
  const Values tie = {1.00390613f};  // its remainder rounds up to half a unit of the first term
  Values once(1), twice(1);
  PackedMatrix(tie.data(), 1, plain_order(1), Precision::kBf16x2).unpack(plain_order(1), once.data());
  PackedMatrix(once.data(), 1, plain_order(1), Precision::kBf16x2).unpack(plain_order(1), twice.data());
  CHECK(same_bits(once, twice));
}

TEST_CASE("rounding to bfloat16 and to integers") {
  CHECK(from_bfloat16(to_bfloat16(1.0f)) == 1.0f);
  CHECK(from_bfloat16(to_bfloat16(1.00390625f)) == 1.0f);       // a tie goes to even
  CHECK(from_bfloat16(to_bfloat16(1.01171875f)) == 1.015625f);  // the next one up
  CHECK(std::isnan(from_bfloat16(to_bfloat16(float_of(0x7f800001u)))));
  CHECK(std::isinf(from_bfloat16(to_bfloat16(INFINITY))));
  uint16_t terms[3];
  split_bfloat16<3>(-INFINITY, terms);
  CHECK(from_bfloat16(terms[0]) == -INFINITY);
  CHECK(terms[1] == 0);
  CHECK(terms[2] == 0);
  for (const float x : {0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 126.5f, -126.7f, 0.49999997f, 0.0f})
    CHECK(nearest_integer(x) == static_cast<int32_t>(std::nearbyint(x)));
}

TEST_CASE("NaN stays visible in every precision") {
  const int64_t rows = 3, depth = 70, columns = 16;
  Values x(static_cast<size_t>(rows * depth), 0.5f), w(static_cast<size_t>(columns * depth), 0.25f),
      bias(static_cast<size_t>(columns), 0.0f);
  x[static_cast<size_t>(depth + 69)] = NAN;
  for (const KernelTable* table : all_tables())
    for (const Precision p : kAll) {
      if (!(*table)[p].dense) continue;
      CAPTURE(std::string(table->name));
      CAPTURE(name_of(p));
      const Values out = dense((*table)[p], p, x, rows, depth, w, columns, bias, 1000);
      CHECK(std::isfinite(out[0]));
      CHECK(std::isnan(out[16]));
      CHECK(std::isfinite(out[32]));
    }
}

TEST_CASE("biLSTM in every precision: near double precision; same bits for batch and threads; NaN stays in its row") {
  Random random(5);
  const int64_t P = 40, C = 72, B = 37, T = 6;
  const RandomBiLstm model(random, 2, 24, P, C, 3.0f, 3.0f, true);
  std::vector<int64_t> lengths;
  for (int64_t b = 0; b < B; ++b) lengths.push_back(random.integer(1, T));
  std::vector<int32_t> index;
  for (int64_t i = 0; i < B * T; ++i) index.push_back(static_cast<int32_t>(random.integer(0, 99)));  // words repeat
  Values x = random.floats(100 * 24, 1.0);
  const KernelTable& before = kernels();
  const Values want = [&] {
    const BiLstm lstm = make_bilstm(model.params);
    Values out(static_cast<size_t>(2 * B * T * 2 * P));
    lstm.run({x.data(), index.data(), lengths.data(), B, T, nullptr, nullptr, out.data()}, 2);
    return out;
  }();
  for (const KernelTable* table : all_tables()) {
    use_kernels(*table);
    for (const Precision p : kAll) {
      const BiLstm lstm = make_bilstm(model.params, p);
      CHECK(lstm.format() == ((*table)[p].dense ? p : Precision::kFloat32));
      CAPTURE(std::string(table->name));
      CAPTURE(name_of(p));
      const auto run = [&](const Values& table_of_x, const int32_t* rows, const int64_t* n, int64_t batch,
                           int threads) {
        Values out(static_cast<size_t>(2 * batch * T * 2 * P), NAN);
        lstm.run({table_of_x.data(), rows, n, batch, T, nullptr, nullptr, out.data()}, threads);
        return out;
      };
      const Values got = run(x, index.data(), lengths.data(), B, 1);
      double error = 0;
      for (size_t i = 0; i < got.size(); ++i) error = std::max(error, std::fabs(double{got[i]} - want[i]));
      CHECK(error < 10 * sum_tolerance(p));
      if (p == lstm.format() && p != Precision::kFloat32) CHECK(error > 0);
      for (const int threads : {2, 3}) REQUIRE(same_bits(run(x, index.data(), lengths.data(), B, threads), got));
      for (int64_t b = 0; b < B; b += kSanitized ? 18 : 5) {
        const Values one = run(x, &index[static_cast<size_t>(b * T)], &lengths[static_cast<size_t>(b)], 1, 2);
        for (int64_t l = 0; l < 2; ++l)
          REQUIRE(std::memcmp(&one[static_cast<size_t>(l * T * 2 * P)],
                              &got[static_cast<size_t>((l * B + b) * T * 2 * P)],
                              static_cast<size_t>(T * 2 * P) * sizeof(float)) == 0);
      }
      Values poisoned = x;
      poisoned[static_cast<size_t>(index[0]) * 24] = NAN;
      const Values nan = run(poisoned, index.data(), lengths.data(), B, 2);
      for (int64_t l = 0; l < 2; ++l) CHECK(std::isnan(nan[static_cast<size_t>(l * B * T * 2 * P)]));
      for (int64_t b = 1; b < B; ++b) {
        const auto row = index.begin() + b * T;
        if (std::find(row, row + lengths[static_cast<size_t>(b)], index[0]) != row + lengths[static_cast<size_t>(b)])
          continue;
        REQUIRE(std::memcmp(&nan[static_cast<size_t>(b * T * 2 * P)], &got[static_cast<size_t>(b * T * 2 * P)],
                            static_cast<size_t>(T * 2 * P) * sizeof(float)) == 0);
      }
    }
  }
  use_kernels(before);
}

TEST_CASE("token encoder in every precision") {
  Random random(6);
  const int64_t ids = 262, dim = 4, width = 12, P = 40, F = 37, n = 150;
  const Values embedding = random.floats(ids * dim, 1.0), w1 = random.floats(17 * dim * 2, 0.4),
               b1 = random.floats(17, 0.3), w2 = random.floats(20 * dim * 5, 0.2), b2 = random.floats(20, 0.3),
               hw = random.floats(2 * F * F, 0.15), hb = random.floats(2 * F, 0.5), pw = random.floats(P * F, 0.15),
               pb = random.floats(P, 0.5);
  const TokenEncoderParams params{embedding.data(),
                                  ids,
                                  dim,
                                  width,
                                  Activation::kRelu,
                                  {{w1.data(), b1.data(), 17, 2}, {w2.data(), b2.data(), 20, 5}},
                                  {{hw.data(), hb.data()}, {hw.data(), hb.data()}},
                                  pw.data(),
                                  pb.data(),
                                  P};
  std::vector<int64_t> chars;
  for (int64_t i = 0; i < n * width; ++i) chars.push_back(random.integer(0, ids - 1));
  const KernelTable& before = kernels();
  Values want;
  for (const KernelTable* table : all_tables()) {
    use_kernels(*table);
    for (const Precision p : kAll) {
      CAPTURE(std::string(table->name));
      CAPTURE(name_of(p));
      const TokenEncoder encoder(params, p);
      const DistinctTokens tokens = encoder.find_distinct(chars.data(), n);
      Values out(static_cast<size_t>(tokens.size() * P)), again(out.size());
      encoder.encode(tokens, out.data(), 1);
      encoder.encode(tokens, again.data(), 3);
      CHECK(same_bits(out, again));
      if (want.empty()) want = out;  // float32 comes first
      double error = 0;
      for (size_t i = 0; i < out.size(); ++i) error = std::max(error, std::fabs(double{out[i]} - want[i]));
      CHECK(error < 10 * sum_tolerance(p));
    }
  }
  use_kernels(before);
}
