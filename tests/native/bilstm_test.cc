// The biLSTM against double precision; same bits for every batch, thread count and instruction set.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <thread>

#include "cpu/instruction_sets.h"
#include "model/bilstm.h"
#include "random_model.h"

using namespace elmo_fast;

namespace {

constexpr double kTolerance = 5e-6;  // outputs of size about 1 to 10

struct Batch {
  std::vector<int64_t> lengths;
  int64_t num_timesteps, input_size;
  Values x, h, c;
  std::vector<int32_t> index;

  Batch(Random& random, const BiLstmParams& p, std::vector<int64_t> row_lengths, int64_t steps)
      : lengths(std::move(row_lengths)), num_timesteps(steps), input_size(p.input_size) {
    const auto b = static_cast<int64_t>(lengths.size()), layers = static_cast<int64_t>(p.forward.size());
    x = random.floats(b * steps * input_size, 1.0);
    h = random.floats(layers * b * 2 * p.projection_dim, 0.3);
    c = random.floats(layers * b * 2 * p.cell_size, 0.3);
    for (int64_t i = 0; i < b * steps; ++i) index.push_back(static_cast<int32_t>(i));
  }
};

struct Result {
  Values out, h, c;
  bool operator==(const Result& o) const { return same_bits(out, o.out) && same_bits(h, o.h) && same_bits(c, o.c); }
};

Result run(const BiLstm& lstm, const Batch& batch, int threads) {
  const auto b = static_cast<int64_t>(batch.lengths.size());
  Result r{Values(static_cast<size_t>(lstm.num_layers() * b * batch.num_timesteps * 2 * lstm.projection_dim()), NAN),
           Values(batch.h.size(), NAN), Values(batch.c.size(), NAN)};
  lstm.run({batch.x.data(), batch.index.data(), batch.lengths.data(), b, batch.num_timesteps, r.h.data(), r.c.data(),
            r.out.data(), nullptr, batch.h.data(), batch.c.data()},
           threads);
  return r;
}

// Compares row b of the result with double-precision loops: outputs, padding and final state.
void check_row(const RandomBiLstm& model, const Batch& batch, const Result& result, int64_t b) {
  const BiLstmParams& p = model.params;
  const int64_t P = p.projection_dim, C = p.cell_size, B = static_cast<int64_t>(batch.lengths.size()),
                T = batch.num_timesteps, n = batch.lengths[static_cast<size_t>(b)];
  for (int64_t d = 0; d < 2; ++d) {
    std::vector<double> x;
    for (int64_t s = 0; s < n; ++s) {
      const int64_t t = d == 0 ? s : n - 1 - s;
      for (int64_t k = 0; k < p.input_size; ++k)
        x.push_back(batch.x[static_cast<size_t>((b * T + t) * p.input_size + k)]);
    }
    int64_t input_size = p.input_size;
    for (size_t l = 0; l < p.forward.size(); ++l) {
      const int64_t at = (static_cast<int64_t>(l) * B + b) * 2 + d;
      std::vector<double> h(batch.h.begin() + at * P, batch.h.begin() + (at + 1) * P);
      std::vector<double> c(batch.c.begin() + at * C, batch.c.begin() + (at + 1) * C);
      std::vector<double> y = lstm64(d == 0 ? p.forward[l] : p.backward[l], p, input_size, x, n, h, c);
      if (l > 0 && p.use_skip_connections)
        for (size_t i = 0; i < y.size(); ++i) y[i] += x[i];
      for (int64_t j = 0; j < P; ++j)
        REQUIRE(std::fabs(h[static_cast<size_t>(j)] - result.h[static_cast<size_t>(at * P + j)]) < kTolerance);
      for (int64_t j = 0; j < C; ++j)
        REQUIRE(std::fabs(c[static_cast<size_t>(j)] - result.c[static_cast<size_t>(at * C + j)]) < kTolerance);
      for (int64_t t = 0; t < T; ++t)
        for (int64_t j = 0; j < P; ++j) {
          const float got =
              result.out[static_cast<size_t>((((static_cast<int64_t>(l) * B + b) * T + t) * 2 + d) * P + j)];
          const int64_t s = d == 0 ? t : n - 1 - t;
          if (t < n)
            REQUIRE(std::fabs(y[static_cast<size_t>(s * P + j)] - got) < kTolerance);
          else
            REQUIRE(got == 0.0f);
        }
      x = std::move(y);
      input_size = P;
    }
  }
}

}  // namespace

TEST_CASE("biLSTM against double precision") {
  Random random(1);
  for (const auto& [layers, in, P, C, clip, skip] :
       {std::tuple<int64_t, int64_t, int64_t, int64_t, float, bool>{1, 1, 1, 1, 0.0f, true},
        {2, 5, 7, 13, 0.0f, true},
        {3, 16, 16, 16, 0.4f, true},
        {4, 20, 33, 50, 1.0f, false},
        {2, 64, 64, 256, 3.0f, true}}) {
    const RandomBiLstm model(random, layers, in, P, C, clip, clip, skip);
    const BiLstm lstm = make_bilstm(model.params);
    const Batch batch(random, model.params, {3, 0, 7, 1, 7, 5}, 7);
    const Result result = run(lstm, batch, 2);
    for (int64_t b = 0; b < 6; ++b) check_row(model, batch, result, b);
  }
}

TEST_CASE("biLSTM: same bits for every batch composition, padding, thread count and table") {
  Random random(2);
  const RandomBiLstm model(random, 2, 24, 40, 300, 3.0f, 3.0f, true);
  const BiLstm lstm = make_bilstm(model.params);
  std::vector<int64_t> lengths;
  for (int i = 0; i < 64; ++i) lengths.push_back(random.integer(0, 9));
  const Batch batch(random, model.params, lengths, 9);
  set_isa("generic");
  const Result want = run(lstm, batch, 1);
  set_isa(isas_available().back());
  for (int threads : {1, 2, 3, 4}) CHECK(run(lstm, batch, threads) == want);
  // Each row alone, without padding.
  const int64_t P = 40, C = 300, B = 64, T = 9;
  for (int64_t b = 0; b < B; ++b) {
    const int64_t n = lengths[static_cast<size_t>(b)];
    if (n == 0) continue;
    Batch one(random, model.params, {n}, n);
    one.x.assign(batch.x.begin() + b * T * 24, batch.x.begin() + (b * T + n) * 24);
    for (int64_t l = 0; l < 2; ++l) {
      std::copy_n(batch.h.begin() + (l * B + b) * 2 * P, 2 * P, one.h.begin() + l * 2 * P);
      std::copy_n(batch.c.begin() + (l * B + b) * 2 * C, 2 * C, one.c.begin() + l * 2 * C);
    }
    const Result alone = run(lstm, one, 2);
    for (int64_t l = 0; l < 2; ++l)
      REQUIRE(std::memcmp(&alone.out[static_cast<size_t>(l * n * 2 * P)],
                          &want.out[static_cast<size_t>((l * B + b) * T * 2 * P)],
                          static_cast<size_t>(n * 2 * P) * sizeof(float)) == 0);
  }
}

TEST_CASE("biLSTM: NaN in one row reaches no other, not even one that follows it in its lane") {
  Random random(6);
  const RandomBiLstm model(random, 2, 24, 40, 300, 3.0f, 3.0f, true);
  for (const std::string& isa : {std::string("generic"), isas_available().back()}) {
    set_isa(isa);
    for (int i = 0; i < kPrecisions; ++i) {
      const BiLstm lstm = make_bilstm(model.params, static_cast<Precision>(i));
      Batch batch(random, model.params, {8, 5, 3}, 8);
      const Result want = run(lstm, batch, 2);
      batch.x[(8 + 1) * 24] = NAN;  // the second step of the row of 5
      const Result got = run(lstm, batch, 2);
      const size_t row = 8 * 2 * 40;
      for (size_t l = 0; l < 2; ++l)
        for (const size_t b : {0, 2})
          CHECK(std::memcmp(&got.out[(l * 3 + b) * row], &want.out[(l * 3 + b) * row], row * sizeof(float)) == 0);
      CHECK(std::isnan(got.out[row + 40 * 2]));
    }
  }
  set_isa(isas_available().back());
}

TEST_CASE("biLSTM: large weights take the one-direction-at-a-time schedule, long rows several input chunks") {
  Random random(3);
  const RandomBiLstm model(random, 2, 256, 256, 2304, 3.0f, 3.0f, true);  // 28 MB of recurrent weights
  const BiLstm lstm = make_bilstm(model.params);
  const Batch batch(random, model.params, {2, 1, 1}, 2);
  const Result want = run(lstm, batch, 1);
  for (int64_t b = 0; b < 3; ++b) check_row(model, batch, want, b);
  for (int threads : {2, 3}) CHECK(run(lstm, batch, threads) == want);

  const RandomBiLstm narrow(random, 2, 3, 4, 5, 1.0f, 1.0f, true);
  const BiLstm small = make_bilstm(narrow.params);
  const Batch long_rows(random, narrow.params, {700, 301, 10}, 700);
  const Result result = run(small, long_rows, 2);
  for (int64_t b = 0; b < 3; ++b) check_row(narrow, long_rows, result, b);
}

TEST_CASE("biLSTM: concurrent calls, no state given, weights handed back") {
  Random random(4);
  const RandomBiLstm model(random, 2, 8, 8, 20, 0.0f, 0.0f, true);
  const BiLstm lstm = make_bilstm(model.params);
  Batch batch(random, model.params, {4, 6}, 6);
  const Result want = run(lstm, batch, 1);
  std::vector<std::thread> threads;
  std::vector<Result> results(4);
  for (size_t i = 0; i < 4; ++i)
    threads.emplace_back([&, i] {
      for (int repeat = 0; repeat < 20; ++repeat) results[i] = run(lstm, batch, 2);
    });
  for (std::thread& t : threads) t.join();
  for (const Result& r : results) CHECK(r == want);

  std::fill(batch.h.begin(), batch.h.end(), 0.0f);
  std::fill(batch.c.begin(), batch.c.end(), 0.0f);
  Values out(want.out.size());
  lstm.run({batch.x.data(), batch.index.data(), batch.lengths.data(), 2, 6, nullptr, nullptr, out.data()}, 2);
  CHECK(same_bits(out, run(lstm, batch, 2).out));

  for (int64_t l = 0; l < 2; ++l) {
    const LstmLayer::Weights w = lstm.layer(l, 1).weights();
    const LstmParams& p = model.params.backward[static_cast<size_t>(l)];
    CHECK(same_bits(w.input_weight, Values(p.input_weight, p.input_weight + 80 * 8)));
    CHECK(same_bits(w.projection, Values(p.projection, p.projection + 8 * 20)));
  }
}

TEST_CASE("biLSTM: more rows than one plan takes") {
  Random random(6);
  const RandomBiLstm model(random, 2, 4, 6, 9, 1.0f, 1.0f, true);
  const BiLstm lstm = make_bilstm(model.params);
  std::vector<int64_t> lengths;
  for (int i = 0; i < 1100; ++i) lengths.push_back(random.integer(0, 3));
  const Batch batch(random, model.params, lengths, 3);
  const Result result = run(lstm, batch, 2);
  for (int64_t b = 0; b < 1100; b += 7) check_row(model, batch, result, b);
  CHECK(run(lstm, batch, 1) == result);
}
