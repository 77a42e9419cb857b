// The word cache against a naive list; the encoder that has one, bit for bit against one without.
#include "model/word_cache.h"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "cpu/instruction_sets.h"
#include "model/cached_encoder.h"
#include "random_model.h"

using namespace elmo_fast;

namespace {

constexpr int64_t kWidth = 6;  // max_characters
constexpr int64_t kDim = 3;

using Ids = std::vector<int32_t>;

DistinctTokens tokens_of(const std::vector<Ids>& words) {
  DistinctTokens tokens;
  for (const Ids& ids : words) {
    tokens.char_ids.insert(tokens.char_ids.end(), ids.begin(), ids.end());
    auto tail = static_cast<int32_t>(ids.size()) - 1;
    while (tail > 0 && ids[static_cast<size_t>(tail - 1)] == ids.back()) --tail;
    tokens.tails.push_back(tail);
  }
  return tokens;
}

// A word's embedding, different for every word of the tests.
Values value_of(const Ids& ids) {
  double x = 0;
  for (const int32_t id : ids) x = x * 7 + id;
  return {static_cast<float>(x), static_cast<float>(-x), 0.5f};
}

Values values_of(const std::vector<Ids>& words) {
  Values all;
  for (const Ids& ids : words)
    for (const float x : value_of(ids)) all.push_back(x);
  return all;
}

// Looks words up and checks what it gets; returns those missing.
std::vector<Ids> look_up(WordCache& cache, const std::vector<Ids>& words, WordCache::Source source = nullptr) {
  const DistinctTokens tokens = tokens_of(words);
  Values out(words.size() * kDim);
  std::vector<int32_t> rows(words.size());
  const int64_t found = cache.look_up(source, tokens, out.data(), rows.data());
  std::vector<Ids> missing;
  int32_t next = 0;
  for (size_t i = 0; i < words.size(); ++i) {
    if (rows[i] < 0) {
      missing.push_back(words[i]);
      continue;
    }
    REQUIRE(rows[i] == next++);
    REQUIRE(same_bits(Values(out.begin() + rows[i] * kDim, out.begin() + (rows[i] + 1) * kDim), value_of(words[i])));
  }
  REQUIRE(next == found);
  return missing;
}

void insert(WordCache& cache, const std::vector<Ids>& words, WordCache::Source source = nullptr) {
  cache.insert(source, tokens_of(words), values_of(words).data());
}

// Ids from a small alphabet, so that words repeat, share prefixes and end in tails of every length.
std::vector<Ids> random_words(Random& random, int64_t n) {
  std::vector<Ids> words;
  while (static_cast<int64_t>(words.size()) < n) {
    Ids ids(kWidth, static_cast<int32_t>(random.integer(0, 1)));
    for (int64_t k = random.integer(0, 3); k-- > 0;) ids[static_cast<size_t>(k)] = random.integer(0, 1);
    if (std::find(words.begin(), words.end(), ids) == words.end()) words.push_back(ids);
  }
  return words;
}

}  // namespace

TEST_CASE("finds and evicts the same words as a naive list ordered by last use") {
  for (const int64_t capacity : {1, 2, 5, 8, 100}) {
    CAPTURE(capacity);
    Random random(static_cast<uint32_t>(capacity));
    WordCache cache(capacity, kWidth, kDim);
    std::vector<Ids> model;  // most recently used first
    int64_t hits = 0, misses = 0;
    for (int step = 0; step < 2000; ++step) {
      const std::vector<Ids> words = random_words(random, random.integer(1, 4));
      std::vector<Ids> missing;
      const auto use = [&](const Ids& ids) {
        model.erase(std::remove(model.begin(), model.end(), ids), model.end());
        model.insert(model.begin(), ids);
      };
      for (const Ids& ids : words) {
        if (std::find(model.begin(), model.end(), ids) != model.end())
          use(ids);
        else
          missing.push_back(ids);
      }
      REQUIRE(look_up(cache, words) == missing);
      insert(cache, missing);
      for (const Ids& ids : missing) {
        use(ids);
        if (static_cast<int64_t>(model.size()) > capacity) model.pop_back();
      }
      hits += static_cast<int64_t>(words.size() - missing.size());
      misses += static_cast<int64_t>(missing.size());
      const WordCache::Info info = cache.info();
      REQUIRE(info.size == static_cast<int64_t>(model.size()));
      REQUIRE(info.hits == hits);
      REQUIRE(info.misses == misses);
      REQUIRE(info.bytes >= info.size * kDim * static_cast<int64_t>(sizeof(float)));
    }
    CHECK(hits > 0);
    CHECK(misses > 0);
  }
}

TEST_CASE("a word that came twice is held once") {
  WordCache cache(2, kWidth, kDim);
  const Ids a(kWidth, 1), b(kWidth, 2), c(kWidth, 3);
  insert(cache, {a, b});
  insert(cache, {a});  // as another thread's
  CHECK(cache.info().size == 2);
  insert(cache, {c});
  CHECK(look_up(cache, {a, b, c}) == std::vector<Ids>{b});
}

TEST_CASE("words of another source are forgotten, and its late results are not stored") {
  WordCache cache(8, kWidth, kDim);
  const Ids a(kWidth, 1), b(kWidth, 2);
  int one, other;
  insert(cache, {a}, &one);
  CHECK(cache.info().size == 0);  // nothing was looked up for this source
  CHECK(look_up(cache, {a}, &one) == std::vector<Ids>{a});
  insert(cache, {a}, &one);
  CHECK(look_up(cache, {a}, &one).empty());
  CHECK(look_up(cache, {a}, &other) == std::vector<Ids>{a});
  insert(cache, {b}, &one);
  CHECK(cache.info().size == 0);
  CHECK(look_up(cache, {a, b}, &one).size() == 2);
  const int64_t bytes = cache.info().bytes;
  insert(cache, {a}, &one);
  look_up(cache, {a}, &other);
  CHECK(cache.info().bytes == bytes);
}

TEST_CASE("counts every word of a look-up of many, found or not") {
  std::vector<Ids> words;
  for (int32_t i = 0; i < 200; ++i) words.push_back({i, i + 1, 1, 1, 1, 1});
  WordCache cache(1000, kWidth, kDim);
  look_up(cache, words);
  insert(cache, {words.begin(), words.begin() + 150});
  CHECK(look_up(cache, words).size() == 50);
  CHECK(cache.info().hits == 150);
  CHECK(cache.info().misses == 250);
}

TEST_CASE("clear forgets words, counts and memory; a cache of size 0 stores nothing") {
  WordCache cache(8, kWidth, kDim);
  const std::vector<Ids> words = {Ids(kWidth, 1), Ids(kWidth, 2)};
  look_up(cache, words);
  insert(cache, words);
  look_up(cache, words);
  cache.clear();
  const WordCache::Info info = cache.info();
  CHECK(info.hits + info.misses + info.size == 0);
  CHECK(info.bytes < 1000);
  CHECK(look_up(cache, words) == words);
  WordCache none(0, kWidth, kDim);
  insert(none, words);
  CHECK(look_up(none, words) == words);
  CHECK(none.info().size == 0);
}

TEST_CASE("threads share it") {
  WordCache cache(6, kWidth, kDim);
  std::atomic<int64_t> words_seen{0};
  std::atomic<bool> right{true};
  const auto use = [&](uint32_t seed) {
    Random random(seed);
    for (int i = 0; i < 2000; ++i) {
      const std::vector<Ids> words = random_words(random, 3);
      const DistinctTokens tokens = tokens_of(words);
      Values out(words.size() * kDim);
      std::vector<int32_t> rows(words.size());
      cache.look_up(nullptr, tokens, out.data(), rows.data());
      for (size_t k = 0; k < words.size(); ++k)
        if (rows[k] >= 0 && std::memcmp(&out[static_cast<size_t>(rows[k] * kDim)], value_of(words[k]).data(),
                                        kDim * sizeof(float)) != 0)
          right = false;
      cache.insert(nullptr, tokens, values_of(words).data());
      words_seen += 3;
      if (cache.info().size > 6) right = false;
      if (i % 500 == 499 && seed == 0) cache.info();
    }
  };
  std::vector<std::thread> threads;
  for (uint32_t seed = 0; seed < 4; ++seed) threads.emplace_back(use, seed);
  for (std::thread& thread : threads) thread.join();
  CHECK(right);
  CHECK(cache.info().hits + cache.info().misses == words_seen);
}

TEST_CASE("a child forked while another thread uses the cache has its words and an open lock") {
  WordCache cache(4, kWidth, kDim);
  WordCache quiet(4, kWidth, kDim);
  const Ids a(kWidth, 1);
  insert(quiet, {a});
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    Random random(1);
    while (!stop) {
      const std::vector<Ids> words = random_words(random, 4);
      look_up(cache, words);
      insert(cache, words);
    }
  });
  int good = 0;
  for (int i = 0; i < 20; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(20);  // ends the child if its lock never opens
      DistinctTokens tokens = tokens_of({a});
      float out[kDim];
      int32_t row;
      const bool kept = quiet.look_up(nullptr, tokens, out, &row) == 1;
      cache.insert(nullptr, tokens, value_of(a).data());
      _exit(kept && cache.look_up(nullptr, tokens, out, &row) == 1 ? 0 : 1);
    }
    int status = 0;
    if (child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0) ++good;
  }
  stop = true;
  busy.join();
  CHECK(good == 20);
}

TEST_CASE("an encoder with a cache gives the bits of one without") {
  Random random(9);
  const int64_t ids = 30, dim = 3, width = 8, F = 21, P = 10;
  const Values embedding = random.floats(ids * dim, 1.0), w = random.floats(F * dim * 2, 0.3),
               b = random.floats(F, 0.5), hw = random.floats(2 * F * F, 0.2), hb = random.floats(2 * F, 0.5),
               pw = random.floats(P * F, 0.2), pb = random.floats(P, 0.5);
  const TokenEncoderParams params{
      embedding.data(),         ids,       dim,       width, Activation::kRelu, {{w.data(), b.data(), F, 2}},
      {{hw.data(), hb.data()}}, pw.data(), pb.data(), P};
  for (const char* name : {"float32", "bf16x3", "bf16x2", "bfloat16", "int8"})
    for (const int64_t capacity : {0, 1, 7, 1000}) {
      CAPTURE(name);
      CAPTURE(capacity);
      const CachedTokenEncoder cached(params, parse_precision(name), capacity);
      for (int call = 0; call < 40; ++call) {
        if (call % 10 == 9) set_isa(isas_available()[static_cast<size_t>(call) % isas_available().size()]);
        const int64_t n = random.integer(1, 40);
        std::vector<int64_t> chars;
        for (int64_t i = 0; i < n; ++i) {
          const int64_t length = random.integer(1, width), last = random.integer(0, 2);
          for (int64_t k = 0; k < width; ++k) chars.push_back(k < length ? random.integer(0, 2) : last);
        }
        DistinctTokens tokens = cached.encoder().find_distinct(chars.data(), n);
        const std::vector<int32_t> index = tokens.index;
        Values want(static_cast<size_t>(tokens.size() * P)), got(want.size());
        cached.encoder().encode(tokens, want.data(), 1);
        cached.encode(&tokens, got.data(), 2);
        bool same = true;
        for (size_t i = 0; i < index.size(); ++i)
          same &= std::memcmp(&want[static_cast<size_t>(index[i] * P)], &got[static_cast<size_t>(tokens.index[i] * P)],
                              P * sizeof(float)) == 0;
        CHECK(same);
        CHECK(cached.words().info().size <= capacity);
      }
      CHECK((cached.words().info().hits > 0) == (capacity > 0));
    }
}
