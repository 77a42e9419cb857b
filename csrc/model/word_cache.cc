#include "model/word_cache.h"

#include <pthread.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <mutex>
#include <utility>

namespace elmo_fast {
namespace {

// One lock for all caches. It is held for microseconds, and because there is only one it can be taken before a fork, so
// that the child inherits an open lock and consistent words.
std::mutex mutex;
using Lock = std::lock_guard<std::mutex>;
[[maybe_unused]] const int kForkHandlers =
    pthread_atfork([] { mutex.lock(); }, [] { mutex.unlock(); }, [] { mutex.unlock(); });

constexpr int64_t kWordsPerLock = 64;  // words copied at a time, so that no other thread waits for a large batch

}  // namespace

WordCache::WordCache(int64_t capacity, int64_t max_characters, int64_t output_dim)
    : capacity_(capacity), max_characters_(max_characters), output_dim_(output_dim) {}

std::string_view WordCache::key_of(const DistinctTokens& tokens, int64_t i) const {
  const int32_t* ids = &tokens.char_ids[static_cast<size_t>(i * max_characters_)];
  const auto length = static_cast<size_t>(tokens.tails[static_cast<size_t>(i)] + 1);
  return {reinterpret_cast<const char*>(ids), length * sizeof(int32_t)};
}

int64_t WordCache::look_up(Source source, const DistinctTokens& tokens, float* out, int32_t* rows) {
  const int64_t n = tokens.size();
  int64_t found = 0;
  Words forgotten;  // freed outside the lock
  for (int64_t first = 0; first < n; first += kWordsPerLock) {
    const Lock lock(mutex);
    if (source_ != source) {
      by_key_.clear();
      forgotten.splice(forgotten.end(), words_);
      key_bytes_ = 0;
      source_ = source;
    }
    const int64_t before = found, end = std::min(n, first + kWordsPerLock);
    for (int64_t i = first; i < end; ++i) {
      const auto at = by_key_.find(key_of(tokens, i));
      rows[i] = -1;
      if (at == by_key_.end()) continue;
      words_.splice(words_.begin(), words_, at->second);
      std::memcpy(out + found * output_dim_, at->second->embedding.data(),
                  static_cast<size_t>(output_dim_) * sizeof(float));
      rows[i] = static_cast<int32_t>(found++);
    }
    hits_ += found - before;
    misses_ += end - first - (found - before);
  }
  return found;
}

void WordCache::insert(Source source, const DistinctTokens& tokens, const float* embeddings) {
  const int64_t n = capacity_ > 0 ? tokens.size() : 0;
  for (int64_t first = 0; first < n; first += kWordsPerLock) {
    const Lock lock(mutex);
    if (source_ != source) return;
    for (int64_t i = first; i < std::min(n, first + kWordsPerLock); ++i)
      put(key_of(tokens, i), embeddings + i * output_dim_);
  }
}

// An exception leaves the cache consistent, at worst one word short.
void WordCache::put(std::string_view key, const float* embedding) {
  const auto at = by_key_.find(key);
  if (at != by_key_.end()) {  // another thread was first
    words_.splice(words_.begin(), words_, at->second);
    return;
  }
  Words fresh;
  if (static_cast<int64_t>(words_.size()) < capacity_) {
    fresh.emplace_back();
  } else {  // reuses the memory of the least recently used word
    by_key_.erase(words_.back().key);
    key_bytes_ -= static_cast<int64_t>(words_.back().key.size());
    fresh.splice(fresh.begin(), words_, std::prev(words_.end()));
  }
  Word& word = fresh.front();
  word.key.assign(key);
  word.embedding.assign(embedding, embedding + output_dim_);
  by_key_.emplace(word.key, fresh.begin());
  key_bytes_ += static_cast<int64_t>(word.key.size());
  words_.splice(words_.begin(), fresh);
}

void WordCache::clear() {
  Words forgotten;
  decltype(by_key_) index;
  const Lock lock(mutex);
  forgotten.swap(words_);
  index.swap(by_key_);
  hits_ = misses_ = key_bytes_ = 0;
}

WordCache::Info WordCache::info() const {
  const Lock lock(mutex);
  const auto size = static_cast<int64_t>(words_.size());
  // The containers' own pointers depend on the implementation: about four per word.
  const int64_t word_bytes = output_dim_ * static_cast<int64_t>(sizeof(float)) +
                             static_cast<int64_t>(sizeof(Word) + sizeof(*by_key_.begin()) + 4 * sizeof(void*));
  return {hits_, misses_, size,
          size * word_bytes + key_bytes_ + static_cast<int64_t>(by_key_.bucket_count() * sizeof(void*))};
}

}  // namespace elmo_fast
