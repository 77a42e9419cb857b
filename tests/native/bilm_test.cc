// A whole biLM gives the same bits for every batch, thread count and word cache; and a weight file gives the same
// model, or an error.
#include "model/bilm.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <memory>

#include "model/characters.h"
#include "model/weight_file.h"
#include "random_model.h"

using namespace elmo_fast;

namespace {

constexpr int64_t kWidth = 8, kDim = 6, kCells = 20, kLayers = 2, kFilters = 5, kEmbedding = 3;

// Weights in the order of the file.
struct Weights {
  Random random{7};
  std::vector<float> embedding = random.floats(kCharIds * kEmbedding, 1), cnn = random.floats(kFilters * kEmbedding, 1),
                     cnn_bias = random.floats(kFilters, 0.5), highway = random.floats(2 * kFilters * kFilters, 0.5),
                     highway_bias = random.floats(2 * kFilters, 0.5), projection = random.floats(kDim * kFilters, 1),
                     projection_bias = random.floats(kDim, 0.5);
  RandomBiLstm lstm{random, kLayers, kDim, kDim, kCells, 3.0f, 2.0f, true};

  TokenEncoderParams encoder() const {
    return {embedding.data(),
            kCharIds,
            kEmbedding,
            kWidth,
            Activation::kTanh,
            {{cnn.data(), cnn_bias.data(), kFilters, 1}},
            {{highway.data(), highway_bias.data()}},
            projection.data(),
            projection_bias.data(),
            kDim};
  }
  BiLm bilm(int64_t word_cache_size = 0) const {
    return BiLm(std::make_shared<CachedTokenEncoder>(encoder(), Precision::kFloat32, word_cache_size),
                std::shared_ptr<BiLstm>(new BiLstm(make_bilstm(lstm.params))));
  }
};

using Ids = std::vector<int64_t>;

Ids ids_of(const std::vector<std::vector<std::string>>& sentences, int64_t steps) {
  Ids ids(sentences.size() * static_cast<size_t>(steps * kWidth));
  for (size_t b = 0; b < sentences.size(); ++b)
    for (size_t t = 0; t < sentences[b].size(); ++t)
      word_char_ids(sentences[b][t], kWidth, &ids[(b * static_cast<size_t>(steps) + t) * kWidth]);
  return ids;
}

struct Result {
  Values out, h, c;
  std::vector<int> mask;
  bool operator==(const Result& o) const {
    return same_bits(out, o.out) && same_bits(h, o.h) && same_bits(c, o.c) && mask == o.mask;
  }
};

Result run(const BiLm& model, const Ids& ids, int64_t batch, int64_t steps, const int64_t* lengths, int threads,
           const Result* before = nullptr) {
  Result r;
  r.out.assign(static_cast<size_t>((kLayers + 1) * batch * (steps + 2) * 2 * kDim), NAN);
  r.h.assign(static_cast<size_t>(kLayers * batch * 2 * kDim), NAN);
  r.c.assign(static_cast<size_t>(kLayers * batch * 2 * kCells), NAN);
  const auto n = static_cast<size_t>(batch * (steps + 2));
  const std::unique_ptr<bool[]> mask(new bool[n]);
  model.run({ids.data(), lengths, batch, steps, before ? before->h.data() : nullptr,
             before ? before->c.data() : nullptr, r.h.data(), r.c.data(), r.out.data(), mask.get()},
            threads);
  r.mask.assign(mask.get(), mask.get() + n);
  return r;
}

const std::vector<std::vector<std::string>> kSentences = {{"A", "sentence", "of", "words"}, {}, {"A", "word", "</S>"}};

std::string write_file(const Weights& w, const std::function<void(std::string&)>& spoil = {}) {
  std::string body;
  const auto put = [&body](const auto& value) { body.append(reinterpret_cast<const char*>(&value), sizeof value); };
  const auto put_all = [&body](const float* values, int64_t n) {
    body.append(reinterpret_cast<const char*>(values), static_cast<size_t>(n) * sizeof(float));
  };
  for (const int64_t x : {kCharIds, kEmbedding, kWidth, int64_t{1}, int64_t{1}, int64_t{1}, int64_t{1}, kDim, kCells,
                          kLayers, int64_t{1}})
    put(x);
  put(3.0f), put(2.0f), put(int64_t{1}), put(kFilters);
  for (const auto* v :
       {&w.embedding, &w.cnn, &w.cnn_bias, &w.highway, &w.highway_bias, &w.projection, &w.projection_bias})
    put_all(v->data(), static_cast<int64_t>(v->size()));
  for (int64_t l = 0; l < kLayers; ++l)
    for (const auto* direction : {&w.lstm.params.forward, &w.lstm.params.backward}) {
      const LstmParams& p = (*direction)[static_cast<size_t>(l)];
      put_all(p.input_weight, 4 * kCells * kDim), put_all(p.state_weight, 4 * kCells * kDim);
      put_all(p.bias, 4 * kCells), put_all(p.projection, kDim * kCells);
    }
  if (spoil) spoil(body);
  uint32_t crc = ~0u;
  for (const char byte : body) {
    crc ^= static_cast<unsigned char>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0xedb88320u : 0);
  }
  const uint32_t version = 1, checksum = ~crc;
  std::string file = "elmofast";
  file.append(reinterpret_cast<const char*>(&version), 4).append(reinterpret_cast<const char*>(&checksum), 4);
  return file + body;
}

struct TemporaryFile {
  std::string path = "elmo_fast_XXXXXX";
  explicit TemporaryFile(const std::string& bytes) {
    close(mkstemp(path.data()));
    std::ofstream(path, std::ios::binary) << bytes;
  }
  ~TemporaryFile() { std::remove(path.c_str()); }
};

std::string error_of(const std::string& bytes) {
  const TemporaryFile file(bytes);
  try {
    read_weight_file(file.path);
  } catch (const WeightFileError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("character ids of words") {
  int64_t ids[kWidth];
  word_char_ids("ab\xc3\xa9wxyz", kWidth, ids);
  CHECK(Ids(ids, ids + kWidth) == Ids{259, 98, 99, 196, 170, 120, 121, 260});  // the last bytes are dropped
  word_char_ids("</S>", kWidth, ids);
  CHECK(Ids(ids, ids + kWidth) == Ids{259, 258, 260, 261, 261, 261, 261, 261});
  CHECK(marker_char_ids(kBeginSentence, 4) == Ids{259, 257, 260, 261});
}

TEST_CASE(
    "a batch gives each sentence what it gets alone, with and without remembered words, on any number of threads") {
  const Weights weights;
  const BiLm model = weights.bilm(), remembering = weights.bilm(3);
  const Ids ids = ids_of(kSentences, 5);
  const Ids lengths = {4, 0, 3};
  const Result first = run(model, ids, 3, 5, nullptr, 1);
  const Result again = run(model, ids, 3, 5, nullptr, 1, &first);
  CHECK(!(first == again));  // the state was carried
  for (const int threads : {1, 2, 3})
    for (const BiLm* m : {&model, &remembering}) {
      CHECK(run(*m, ids, 3, 5, nullptr, threads) == first);
      CHECK(run(*m, ids, 3, 5, lengths.data(), threads) == first);
      CHECK(run(*m, ids, 3, 5, nullptr, threads, &first) == again);
    }
  CHECK(first.mask == std::vector<int>{1, 1, 1, 1, 1, 1, 0, 1, 1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 0, 0});
  for (size_t b = 0; b < 3; ++b) {
    const auto n = static_cast<int64_t>(kSentences[b].size());
    const Result alone = run(model, ids_of({kSentences[b]}, n), 1, n, nullptr, 1);
    for (int64_t l = 0; l <= kLayers; ++l)
      for (int64_t t = 0; t < 7; ++t)
        for (int64_t k = 0; k < 2 * kDim; ++k) {
          const float got = first.out[static_cast<size_t>(((l * 3 + static_cast<int64_t>(b)) * 7 + t) * 2 * kDim + k)];
          CHECK(got == (t < n + 2 ? alone.out[static_cast<size_t>((l * (n + 2) + t) * 2 * kDim + k)] : 0.0f));
        }
  }
}

TEST_CASE("layer 0 is the token embedding, once per direction") {
  const Weights weights;
  const BiLm model = weights.bilm();
  const Result result = run(model, ids_of({{"word"}}, 1), 1, 1, nullptr, 1);
  Ids ids = marker_char_ids(kBeginSentence, kWidth);
  const Ids word = ids_of({{"word"}}, 1);
  ids.insert(ids.end(), word.begin(), word.end());
  const TokenEncoder encoder(weights.encoder());
  const DistinctTokens tokens = encoder.find_distinct(ids.data(), 2);
  Values table(2 * kDim);
  encoder.encode(tokens, table.data(), 1);
  for (int64_t t = 0; t < 2; ++t)
    for (int64_t k = 0; k < 2 * kDim; ++k)
      CHECK(result.out[static_cast<size_t>(t * 2 * kDim + k)] == table[static_cast<size_t>(t * kDim + k % kDim)]);
}

TEST_CASE("wrong arguments are errors") {
  const Weights weights;
  const BiLm model = weights.bilm();
  Ids ids = ids_of({{"word"}}, 1);
  for (const int64_t length : {-1, 2}) CHECK_THROWS_AS(run(model, ids, 1, 1, &length, 1), std::invalid_argument);
  ids[3] = kCharIds;
  CHECK_THROWS_WITH_AS(run(model, ids, 1, 1, nullptr, 1), "char_ids: expected ids from 0 to 261, got 262 at (0, 0, 3)",
                       std::invalid_argument);
  Random random(1);
  const RandomBiLstm wider(random, 1, kDim + 1, kDim, 4, 0, 0, false);
  CHECK_THROWS_AS(BiLm(model.encoder(), std::shared_ptr<BiLstm>(new BiLstm(make_bilstm(wider.params)))),
                  std::invalid_argument);
}

TEST_CASE("a weight file gives the same model") {
  const Weights weights;
  const TemporaryFile file(write_file(weights));
  const Ids ids = ids_of(kSentences, 4);
  CHECK(run(read_weight_file(file.path), ids, 3, 4, nullptr, 1) == run(weights.bilm(), ids, 3, 4, nullptr, 1));
}

TEST_CASE("a wrong weight file is an error that says what is wrong") {
  const Weights weights;
  const std::string whole = write_file(weights);
  const auto has = [](const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
  };
  CHECK_THROWS_WITH_AS(read_weight_file("/nowhere/x.elmo"), "/nowhere/x.elmo: cannot be opened", WeightFileError);
  CHECK(has(error_of(""), "magic: expected 8 bytes at 0, the file ends at 0"));
  CHECK(has(error_of("HDF\r\n\x1a\n and more"), "begins with \"elmofast\""));
  std::string other = whole;
  other[8] = 2;
  CHECK(has(error_of(other), "expected format version 1, got 2"));
  for (const size_t at : {size_t{12}, size_t{16}, size_t{200}, whole.size() - 1}) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    CHECK(has(error_of(damaged), "checksum is wrong"));
  }
  for (size_t n = 0; n < whole.size(); n += 97) CHECK(!error_of(whole.substr(0, n)).empty());
  CHECK(has(error_of(write_file(weights, [](std::string& body) { body += "more"; })), "bytes, got"));
  const auto with_size = [&](size_t field, int64_t value) {
    return error_of(write_file(weights, [&](std::string& body) { std::memcpy(&body[field * 8], &value, 8); }));
  };
  CHECK(has(with_size(0, -1), "n_char_ids: expected 1 to"));
  CHECK(has(with_size(0, int64_t{1} << 19), "char_embedding: expected 1572864 floats"));
  CHECK(has(with_size(3, 2), "activation: expected 0 to 1, got 2"));
  CHECK(has(with_size(7, kDim - 1), "bytes"));
  CHECK(has(error_of(write_file(weights, [](std::string& body) { std::memset(&body[14 * 8], 0xff, 4); })),
            "char_embedding: expected finite values"));
}
