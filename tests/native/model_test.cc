// The token encoder and the biLSTM against double precision; same bits for every batch, thread count and table.
#include <doctest/doctest.h>

#include <algorithm>
#include <cfenv>
#include <cmath>
#include <cstring>
#include <set>
#include <thread>

#include "bilstm.h"
#include "random_model.h"
#include "test_tables.h"
#include "token_encoder.h"

using namespace elmo_fast;

namespace {

constexpr double kTolerance = 5e-6;  // outputs of size about 1 to 10

using Values = std::vector<float>;

bool same_bits(const Values& a, const Values& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

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
  Result r{
      Values(static_cast<size_t>(lstm.num_layers() * b * batch.num_timesteps * 2 * lstm.shape().projection_dim), NAN),
      batch.h, batch.c};
  lstm.run({batch.x.data(), batch.index.data(), batch.lengths.data(), b, batch.num_timesteps, r.h.data(), r.c.data(),
            r.out.data()},
           threads);
  return r;
}

// Row b of the result, as double-precision loops have it; checks outputs, padding and final state.
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
    const BiLstm lstm(model.params);
    const Batch batch(random, model.params, {3, 0, 7, 1, 7, 5}, 7);
    const Result result = run(lstm, batch, 2);
    for (int64_t b = 0; b < 6; ++b) check_row(model, batch, result, b);
  }
}

TEST_CASE("biLSTM: same bits for every batch composition, padding, thread count and table") {
  Random random(2);
  const RandomBiLstm model(random, 2, 24, 40, 300, 3.0f, 3.0f, true);
  const BiLstm lstm(model.params);
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

TEST_CASE("biLSTM: large weights take the one-direction-at-a-time schedule, long rows several input chunks") {
  Random random(3);
  const RandomBiLstm model(random, 2, 256, 256, 2304, 3.0f, 3.0f, true);  // 28 MB of recurrent weights
  const BiLstm lstm(model.params);
  const Batch batch(random, model.params, {2, 1, 2}, 2);
  const Result want = run(lstm, batch, 1);
  check_row(model, batch, want, 0);
  for (int threads : {2, 3}) CHECK(run(lstm, batch, threads) == want);

  const RandomBiLstm narrow(random, 2, 3, 4, 5, 1.0f, 1.0f, true);
  const BiLstm small(narrow.params);
  const Batch long_rows(random, narrow.params, {700, 301, 10}, 700);
  const Result result = run(small, long_rows, 2);
  for (int64_t b = 0; b < 3; ++b) check_row(narrow, long_rows, result, b);
}

TEST_CASE("biLSTM: concurrent calls, no state given, weights handed back") {
  Random random(4);
  const RandomBiLstm model(random, 2, 8, 8, 20, 0.0f, 0.0f, true);
  const BiLstm lstm(model.params);
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
    const BiLstm::Weights w = lstm.weights(l, 1);
    const LstmParams& p = model.params.backward[static_cast<size_t>(l)];
    CHECK(same_bits(w.input_weight, Values(p.input_weight, p.input_weight + 80 * 8)));
    CHECK(same_bits(w.projection, Values(p.projection, p.projection + 8 * 20)));
  }
}

TEST_CASE("biLSTM: more rows than walk together") {
  Random random(6);
  const RandomBiLstm model(random, 2, 4, 6, 9, 1.0f, 1.0f, true);
  const BiLstm lstm(model.params);
  std::vector<int64_t> lengths;
  for (int i = 0; i < 1100; ++i) lengths.push_back(random.integer(0, 3));
  const Batch batch(random, model.params, lengths, 3);
  const Result result = run(lstm, batch, 2);
  for (int64_t b = 0; b < 1100; b += 7) check_row(model, batch, result, b);
  CHECK(run(lstm, batch, 1) == result);
}

TEST_CASE("a model built under another rounding mode has the same tables; NaN in a weight reaches the output") {
  Random random(7);
  const int64_t ids = 20, dim = 3, width = 9;
  Values embedding = random.floats(ids * dim, 1.0);
  const Values w = random.floats(21 * dim * 2, 0.3), b = random.floats(21, 0.5);
  const auto encode = [&](int rounding) {
    std::fesetround(rounding);
    const TokenEncoder encoder(
        {embedding.data(), ids, dim, width, Activation::kRelu, {{w.data(), b.data(), 21, 2}}, {}, nullptr, nullptr, 0});
    std::fesetround(FE_TONEAREST);
    std::vector<int64_t> chars;
    for (int64_t i = 0; i < 10 * width; ++i) chars.push_back(i * i % ids);
    const DistinctTokens tokens = encoder.find_distinct(chars.data(), 10);
    Values out(static_cast<size_t>(tokens.size() * 21));
    encoder.encode(tokens, out.data(), 2);
    return out;
  };
  const Values want = encode(FE_TONEAREST);
  CHECK(same_bits(encode(FE_UPWARD), want));
  embedding[0] = NAN;  // id 0, the first character of the first token
  for (const std::string& isa : isas_available()) {
    set_isa(isa);
    const Values out = encode(FE_TONEAREST);
    CHECK(std::all_of(out.begin(), out.begin() + 21, [](float x) { return std::isnan(x); }));
  }
}

TEST_CASE("token encoder against double precision, same bits everywhere") {
  Random random(5);
  const int64_t ids = 262, dim = 5, width = 50, P = 23;
  const std::vector<std::pair<int64_t, int64_t>> filters = {{3, 1}, {20, 2}, {70, 7}};
  const int64_t F = 93;
  for (const bool tanh : {false, true})
    for (const int64_t n_highway : {0, 2}) {
      const Values embedding = random.floats(ids * dim, 1.0), pw = random.floats(P * F, 0.1),
                   pb = random.floats(P, 1.0);
      std::vector<Values> keep;
      keep.reserve(16);
      TokenEncoderParams p{
          embedding.data(), ids,       dim, width, tanh ? Activation::kTanh : Activation::kRelu, {}, {},
          pw.data(),        pb.data(), P};
      for (const auto& [n, w] : filters) {
        keep.push_back(random.floats(n * dim * w, 0.3));
        keep.push_back(random.floats(n, 0.5));
        p.convolutions.push_back({keep[keep.size() - 2].data(), keep.back().data(), n, w});
      }
      for (int64_t i = 0; i < n_highway; ++i) {
        keep.push_back(random.floats(2 * F * F, 0.1));
        keep.push_back(random.floats(2 * F, 0.5));
        p.highways.push_back({keep[keep.size() - 2].data(), keep.back().data()});
      }
      const TokenEncoder encoder(p);
      const int64_t n = 300;
      std::vector<int64_t> chars(static_cast<size_t>(n * width), 261);
      for (int64_t i = 0; i < n; ++i)
        for (int64_t k = random.integer(0, width); k-- > 0;)
          chars[static_cast<size_t>(i * width + k)] = random.integer(0, ids - 1);
      std::copy_n(chars.begin(), width, chars.begin() + 7 * width);  // a repeated token
      const DistinctTokens tokens = encoder.find_distinct(chars.data(), n);
      std::set<std::vector<int64_t>> distinct;
      for (int64_t i = 0; i < n; ++i) distinct.emplace(chars.begin() + i * width, chars.begin() + (i + 1) * width);
      CHECK(tokens.size() == static_cast<int64_t>(distinct.size()));
      CHECK(tokens.index[7] == tokens.index[0]);
      Values want;
      for (const std::string& isa : isas_available())
        for (int threads : {1, 3}) {
          set_isa(isa);
          Values out(static_cast<size_t>(tokens.size() * P), NAN);
          encoder.encode(tokens, out.data(), threads);
          if (want.empty()) want = out;
          CHECK(same_bits(out, want));
        }
      for (int64_t i = 0; i < n; i += 37) {
        std::vector<double> x;
        for (const ConvolutionParams& c : p.convolutions)
          for (int64_t f = 0; f < c.n_filters; ++f) {
            double best = -INFINITY;
            for (int64_t at = 0; at + c.filter_width <= width; ++at) {
              double sum = c.bias[f];
              for (int64_t k = 0; k < c.filter_width; ++k)
                for (int64_t e = 0; e < dim; ++e)
                  sum += static_cast<double>(c.weight[(f * dim + e) * c.filter_width + k]) *
                         embedding[static_cast<size_t>(chars[static_cast<size_t>(i * width + at + k)] * dim + e)];
              best = std::max(best, sum);
            }
            x.push_back(tanh ? std::tanh(best) : std::max(0.0, best));
          }
        for (const HighwayParams& h : p.highways) {
          const std::vector<double> z = multiply64(h.weight, 2 * F, F, x.data());
          for (int64_t j = 0; j < F; ++j) {
            const double g = sigmoid64(z[static_cast<size_t>(F + j)] + h.bias[F + j]);
            double& v = x[static_cast<size_t>(j)];
            v = g * v + (1 - g) * std::max(0.0, z[static_cast<size_t>(j)] + h.bias[j]);
          }
        }
        const std::vector<double> y = multiply64(pw.data(), P, F, x.data());
        for (int64_t j = 0; j < P; ++j)
          REQUIRE(std::fabs(y[static_cast<size_t>(j)] + pb[static_cast<size_t>(j)] -
                            want[static_cast<size_t>(tokens.index[static_cast<size_t>(i)] * P + j)]) < kTolerance);
      }
      chars[60] = 262;
      CHECK_THROWS_WITH_AS(encoder.find_distinct(chars.data(), n),
                           "char_ids: id 262 of token 1, position 10 is outside [0, 262)", std::invalid_argument);
    }
}

TEST_CASE("unknown or unsupported instruction sets are refused and change nothing") {
  const std::string before = kernels().name;
  CHECK_THROWS_AS(set_isa("mmx"), std::invalid_argument);
  for (const std::string& isa : isas_built()) {
    const std::vector<std::string> available = isas_available();
    if (std::find(available.begin(), available.end(), isa) == available.end())
      CHECK_THROWS_AS(set_isa(isa), std::invalid_argument);
  }
  CHECK(before == kernels().name);
}

// Weights made with integer arithmetic alone, so that they are the same on every machine; the hash was written on
// x86-64 and must come out of every instruction set of every architecture.
TEST_CASE("committed digest of a model's output") {
  uint64_t seed = 42;
  const auto floats = [&seed](int64_t n, float scale) {
    Values v;
    for (int64_t i = 0; i < n; ++i) {
      seed = seed * 6364136223846793005u + 1442695040888963407u;
      v.push_back((static_cast<float>(seed >> 40) / 8388608.0f - 1.0f) * scale);
    }
    return v;
  };
  const int64_t ids = 262, dim = 4, width = 50, P = 40, C = 72, F = 37, B = 5, T = 6;
  const Values embedding = floats(ids * dim, 1), w1 = floats(17 * dim * 2, 0.5f), b1 = floats(17, 0.5f),
               w2 = floats(20 * dim * 5, 0.3f), b2 = floats(20, 0.5f), hw = floats(2 * F * F, 0.3f),
               hb = floats(2 * F, 0.5f), pw = floats(P * F, 0.3f), pb = floats(P, 0.5f);
  const TokenEncoder encoder({embedding.data(),
                              ids,
                              dim,
                              width,
                              Activation::kTanh,
                              {{w1.data(), b1.data(), 17, 2}, {w2.data(), b2.data(), 20, 5}},
                              {{hw.data(), hb.data()}},
                              pw.data(),
                              pb.data(),
                              P});
  std::vector<Values> keep;
  keep.reserve(16);
  BiLstmParams p{{}, {}, P, P, C, 3.0f, 1.0f, true};
  for (int i = 0; i < 4; ++i) {
    for (const auto& [n, scale] :
         {std::pair<int64_t, float>{4 * C * P, 0.4f}, {4 * C * P, 0.4f}, {4 * C, 0.5f}, {P * C, 0.3f}})
      keep.push_back(floats(n, scale));
    const size_t at = keep.size() - 4;
    (i < 2 ? p.forward : p.backward)
        .push_back({keep[at].data(), keep[at + 1].data(), keep[at + 2].data(), keep[at + 3].data()});
  }
  const BiLstm lstm(p);
  std::vector<int64_t> chars;
  for (int64_t i = 0; i < B * T * width; ++i)
    chars.push_back(i % width < 5 + i / width % 7 ? (i * i + 11 * i) % ids : 261);
  const std::vector<int64_t> lengths = {6, 1, 3, 5, 2};
  for (const std::string& isa : isas_available()) {
    set_isa(isa);
    const DistinctTokens tokens = encoder.find_distinct(chars.data(), B * T);
    Values table(static_cast<size_t>(tokens.size() * P)), out(static_cast<size_t>(2 * B * T * 2 * P));
    encoder.encode(tokens, table.data(), 2);
    lstm.run({table.data(), tokens.index.data(), lengths.data(), B, T, nullptr, nullptr, out.data()}, 2);
    uint64_t hash = 14695981039346656037u;
    for (const float f : out) {
      uint32_t bits;
      std::memcpy(&bits, &f, sizeof bits);
      hash = (hash ^ bits) * 1099511628211u;
    }
    CAPTURE(isa);
    CHECK(hash == 8302991202508700134u);
  }
}
