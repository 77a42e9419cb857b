// Each kernel of each table against double precision, and bit for bit against the generic table; odd sizes, thread
// splits at every unit.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "cpu/packed_matrix.h"
#include "random_model.h"
#include "test_tables.h"

using namespace elmo_fast;

namespace {

constexpr double kSumTolerance = 2e-6;  // relative to the scale of a sum of terms of total variance about 1

constexpr ptrdiff_t kFloatBytes = sizeof(float);

struct DenseCase {
  int64_t rows, depth, columns;
};
const DenseCase kDenseCases[] = {{1, 1, 1},    {1, 7, 16},    {2, 255, 17},  {3, 256, 64}, {4, 257, 33},
                                 {5, 512, 48}, {6, 31, 80},   {7, 600, 130}, {13, 3, 65},  {14, 300, 64},
                                 {15, 16, 15}, {29, 520, 96}, {130, 40, 70}, {257, 9, 20}};

struct DenseRun {
  Values out;
  int64_t ldo;
};

DenseRun run_dense(const KernelTable& table, const DenseCase& c, const Values& x, const Values& w, const Values& bias,
                   int64_t split) {
  const ColumnOrder order = plain_order(c.columns);
  const PackedMatrix packed(w.data(), c.depth, order);
  const AlignedBuffer b = pack_vector(bias.data(), order);
  const auto ldo = static_cast<int64_t>(order.size());
  DenseRun run{Values(static_cast<size_t>(c.rows * ldo), std::numeric_limits<float>::quiet_NaN()), ldo};
  const DenseArgs args{
      {x.data(), c.depth * kFloatBytes, nullptr, c.rows, packed.view()}, b.data(), run.out.data(), ldo};
  for (int64_t u = 0; u < packed.units(); u += split)
    table[Precision::kFloat32].dense(args, u, std::min(u + split, packed.units()));
  return run;
}

}  // namespace

TEST_CASE("dense") {
  Random random(1);
  for (const DenseCase& c : kDenseCases) {
    CAPTURE(c.rows);
    CAPTURE(c.depth);
    CAPTURE(c.columns);
    const Values x = random.floats(c.rows * c.depth, 1.0),
                 w = random.floats(c.columns * c.depth, 1 / std::sqrt(c.depth)), bias = random.floats(c.columns, 1.0);
    const DenseRun want = run_dense(kernels_of("generic"), c, x, w, bias, 1000);
    for (int64_t r = 0; r < c.rows; ++r) {
      const std::vector<double> y = multiply64(w.data(), c.columns, c.depth, &x[static_cast<size_t>(r * c.depth)]);
      for (int64_t n = 0; n < c.columns; ++n)
        REQUIRE(std::fabs(y[static_cast<size_t>(n)] + bias[static_cast<size_t>(n)] -
                          want.out[static_cast<size_t>(r * want.ldo + n)]) < kSumTolerance * 5);
    }
    for (const KernelTable* table : all_tables()) {
      CAPTURE(std::string(table->name));
      for (int64_t split : {1, 2, 3, 4, 1000}) CHECK(same_bits(run_dense(*table, c, x, w, bias, split).out, want.out));
    }
  }
}

TEST_CASE("a row's bits do not depend on the rows beside it") {
  Random random(2);
  const int64_t depth = 520, columns = 64;
  const Values x = random.floats(40 * depth, 1.0), w = random.floats(columns * depth, 0.1),
               bias = random.floats(columns, 1);
  for (const KernelTable* table : all_tables()) {
    const Values all = run_dense(*table, {40, depth, columns}, x, w, bias, 1000).out;
    for (int64_t rows = 1; rows < 40; ++rows) {
      const Values some = run_dense(*table, {rows, depth, columns}, x, w, bias, 1000).out;
      REQUIRE(std::memcmp(some.data(), all.data(), some.size() * sizeof(float)) == 0);
    }
  }
}

TEST_CASE("highway") {
  Random random(3);
  for (const auto& [rows, f] : {std::pair<int64_t, int64_t>{1, 1}, {3, 17}, {20, 70}, {131, 33}}) {
    const Values x = random.floats(rows * f, 1.0), w = random.floats(2 * f * f, 1 / std::sqrt(f)),
                 bias = random.floats(2 * f, 1.0);
    const ColumnOrder order = interleaved_order(2, f);
    const PackedMatrix packed(w.data(), f, order);
    const AlignedBuffer b = pack_vector(bias.data(), order);
    const int64_t ld = round_up(f, kUnit) + kRowPad;
    Values padded(static_cast<size_t>(rows * ld));
    for (int64_t r = 0; r < rows; ++r)
      std::copy_n(&x[static_cast<size_t>(r * f)], f, &padded[static_cast<size_t>(r * ld)]);
    Values want;
    for (const KernelTable* table : all_tables()) {
      CAPTURE(std::string(table->name));
      Values out(padded.size());
      const HighwayArgs args{
          {padded.data(), ld * kFloatBytes, nullptr, rows, packed.view()}, b.data(), padded.data(), ld, out.data(), ld};
      const int64_t pairs = packed.units() / 2, middle = pairs / 3;
      (*table)[Precision::kFloat32].highway(args, 0, middle);
      (*table)[Precision::kFloat32].highway(args, middle, pairs);
      if (want.empty()) want = out;
      CHECK(same_bits(out, want));
    }
    for (int64_t r = 0; r < rows; ++r) {
      const std::vector<double> z = multiply64(w.data(), 2 * f, f, &x[static_cast<size_t>(r * f)]);
      for (int64_t j = 0; j < f; ++j) {
        const double g = sigmoid64(z[static_cast<size_t>(f + j)] + bias[static_cast<size_t>(f + j)]);
        const double t = std::max(0.0, z[static_cast<size_t>(j)] + bias[static_cast<size_t>(j)]);
        REQUIRE(std::fabs(g * x[static_cast<size_t>(r * f + j)] + (1 - g) * t - want[static_cast<size_t>(r * ld + j)]) <
                kSumTolerance * 5);
      }
    }
  }
}

TEST_CASE("clipping keeps NaN and bounds infinities") {
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  const Values m = {nan, inf, -inf, 2.0f, -2.0f, 0.5f};
  const Values w = {1.0f};
  const PackedMatrix packed(w.data(), 1, plain_order(1));
  for (const KernelTable* table : all_tables()) {
    Values h(6 * kUnit), out(6);
    std::vector<float*> rows;
    for (float& o : out) rows.push_back(&o);
    const LstmProjectArgs args{{m.data(), kFloatBytes, nullptr, 6, packed.view()},
                               h.data(),
                               kUnit,
                               nullptr,
                               0,
                               nullptr,
                               0,
                               rows.data(),
                               1,
                               1.5f};
    (*table)[Precision::kFloat32].lstm_project(args, 0, 1);
    CHECK(std::isnan(out[0]));
    CHECK(Values(out.begin() + 1, out.end()) == Values{1.5f, -1.5f, 1.5f, -1.5f, 0.5f});
  }
}

TEST_CASE("packing and unpacking give the matrix back") {
  Random random(4);
  for (const int64_t groups : {1, 2, 4})
    for (const int64_t size : {1, 15, 16, 17, 40}) {
      const int64_t depth = 70, rows = groups * size;
      const Values w = random.floats(rows * depth, 1.0), b = random.floats(rows, 1.0);
      const ColumnOrder order = interleaved_order(groups, size);
      CHECK(static_cast<int64_t>(order.size()) == groups * round_up(size, kUnit));
      Values back(w.size()), back_b(b.size());
      PackedMatrix(w.data(), depth, order).unpack(order, back.data());
      unpack_vector(pack_vector(b.data(), order), order, back_b.data());
      CHECK(same_bits(back, w));
      CHECK(same_bits(back_b, b));
    }
}
