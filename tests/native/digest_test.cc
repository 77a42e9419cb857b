// Properties of the whole library: a digest that is the same on every machine, and errors for wrong instruction sets.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>

#include "cpu/instruction_sets.h"
#include "model/token_encoder.h"
#include "random_model.h"

using namespace elmo_fast;

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
    std::vector<float> v;
    for (int64_t i = 0; i < n; ++i) {
      seed = seed * 6364136223846793005u + 1442695040888963407u;
      v.push_back((static_cast<float>(seed >> 40) / 8388608.0f - 1.0f) * scale);
    }
    return v;
  };
  const int64_t ids = 262, dim = 4, width = 50, P = 40, C = 72, F = 37, B = 5, T = 6;
  const std::vector<float> embedding = floats(ids * dim, 1), w1 = floats(17 * dim * 2, 0.5f), b1 = floats(17, 0.5f),
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
  std::vector<std::vector<float>> keep;
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
  const BiLstm lstm = make_bilstm(p);
  std::vector<int64_t> chars;
  for (int64_t i = 0; i < B * T * width; ++i)
    chars.push_back(i % width < 5 + i / width % 7 ? (i * i + 11 * i) % ids : 261);
  const std::vector<int64_t> lengths = {6, 1, 3, 5, 2};
  for (const std::string& isa : isas_available()) {
    set_isa(isa);
    const DistinctTokens tokens = encoder.find_distinct(chars.data(), B * T);
    std::vector<float> table(static_cast<size_t>(tokens.size() * P)), out(static_cast<size_t>(2 * B * T * 2 * P));
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
