// Scratch memory that is kept between calls.
//
// A model owns one WorkspacePool. A call leases a workspace, carves its buffers from it and gives it back; concurrent
// calls get one each. Fresh pages cost more than the arithmetic of a short sentence, so up to kKeptBytes stay; what is
// larger goes back to the system when its call ends.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "runtime/aligned_buffer.h"

namespace elmo_fast {

class WorkspacePool;

class Workspace {
 public:
  Workspace(Workspace&&) = default;
  ~Workspace();

  // The next n floats, on a cache line, not initialised. The total asked for must not exceed the lease.
  float* take(int64_t n) {
    float* p = buffer_.data() + used_;
    used_ += padded(n);
    return p;
  }
  static int64_t padded(int64_t n) { return (n + 15) / 16 * 16; }

 private:
  friend class WorkspacePool;
  Workspace(WorkspacePool* pool, AlignedBuffer buffer) : pool_(pool), buffer_(std::move(buffer)) {}

  WorkspacePool* pool_;
  AlignedBuffer buffer_;
  int64_t used_ = 0;
};

class WorkspacePool {
 public:
  // Enough for the largest batch within the Python side's token budget (512 rows of 16 tokens) in the original model:
  // 83 MiB, or 126 MiB in int8, where both directions run at once.
  static constexpr int64_t kKeptBytes = int64_t{128} << 20;

  // A workspace of at least `floats` floats (sum of padded() sizes).
  Workspace lease(int64_t floats) {
    AlignedBuffer buffer;
    {
      // Never waits: a forked child may inherit the lock from a thread that does not exist in it.
      std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
      if (lock.owns_lock() && !idle_.empty()) {
        buffer = std::move(idle_.back());
        idle_.pop_back();
        kept_ -= buffer.bytes();
      }
    }
    if (buffer.size() < floats) buffer = AlignedBuffer(floats);
    return Workspace(this, std::move(buffer));
  }

 private:
  friend class Workspace;
  void give_back(AlignedBuffer buffer) {
    std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
    if (!lock.owns_lock() || kept_ + buffer.bytes() > kKeptBytes) return;
    kept_ += buffer.bytes();
    idle_.push_back(std::move(buffer));
  }

  std::mutex mutex_;
  int64_t kept_ = 0;
  std::vector<AlignedBuffer> idle_;
};

inline Workspace::~Workspace() {
  if (buffer_.size() > 0) pool_->give_back(std::move(buffer_));
}

}  // namespace elmo_fast
