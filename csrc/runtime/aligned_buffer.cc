#include "runtime/aligned_buffer.h"

#include <pthread.h>

#include <mutex>
#include <vector>

namespace elmo_fast {
namespace {

struct Kept {
  std::mutex mutex;
  int keepers = 0;
  std::vector<std::pair<size_t, void*>> blocks;
};

// Never destroyed: buffers of other statics may be freed later.
Kept* current = new Kept;

// A forked child starts without keepers: those of its parent's threads do not exist in it and would never end.
[[maybe_unused]] const int registered = pthread_atfork(nullptr, nullptr, [] { current = new Kept; });

Kept& kept() { return *current; }

}  // namespace

KeepBlocks::KeepBlocks() {
  const std::lock_guard<std::mutex> lock(kept().mutex);
  ++kept().keepers;
}

KeepBlocks::~KeepBlocks() {
  std::vector<std::pair<size_t, void*>> blocks;
  {
    const std::lock_guard<std::mutex> lock(kept().mutex);
    if (kept().keepers > 0 && --kept().keepers == 0) blocks.swap(kept().blocks);
  }
  for (const auto& [bytes, block] : blocks) std::free(block);
}

// Neither of these waits: a forked child may inherit the lock from a thread that does not exist in it.
void* KeepBlocks::take(size_t bytes) {
  const std::unique_lock<std::mutex> lock(kept().mutex, std::try_to_lock);
  if (!lock.owns_lock()) return nullptr;
  std::vector<std::pair<size_t, void*>>& blocks = kept().blocks;
  for (size_t i = 0; i < blocks.size(); ++i) {
    if (blocks[i].first != bytes) continue;
    void* block = blocks[i].second;
    blocks.erase(blocks.begin() + static_cast<ptrdiff_t>(i));
    return block;
  }
  return nullptr;
}

bool KeepBlocks::keep(void* block, size_t bytes) {
  const std::unique_lock<std::mutex> lock(kept().mutex, std::try_to_lock);
  if (!lock.owns_lock() || kept().keepers == 0) return false;
  kept().blocks.emplace_back(bytes, block);
  return true;
}

}  // namespace elmo_fast
