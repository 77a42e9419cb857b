// The token encoder against double precision; same bits for every thread count and instruction set.
#include <doctest/doctest.h>

#include <algorithm>
#include <cfenv>
#include <cmath>
#include <cstring>
#include <set>

#include "cpu/instruction_sets.h"
#include "model/token_encoder.h"
#include "random_model.h"

using namespace elmo_fast;

namespace {

constexpr double kTolerance = 5e-6;  // outputs of size about 1 to 10

}  // namespace

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
          // Activations for the backward pass are saved without changing the result; a table's gradient adds up to that
          // of the filters.
          const int64_t plane = tokens.size() * encoder.saved_stride();
          Values again(out.size(), NAN), saved(static_cast<size_t>(encoder.saved_planes() * plane));
          encoder.encode(tokens, again.data(), threads, saved.data());
          CHECK(same_bits(again, want));
          CHECK(encoder.saved_planes() == 1 + 3 * n_highway);
          const Values gradient(static_cast<size_t>(tokens.size() * F), 0.25f);
          Values table(static_cast<size_t>(7 * ids * 70));
          encoder.table_gradient(tokens, gradient.data(), 2, table.data(), threads);
          double sum = 0.0;
          for (const float x : table) sum += x;
          CHECK(sum == 0.25 * 7 * 70 * static_cast<double>(tokens.size()));
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
