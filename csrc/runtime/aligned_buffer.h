// A block of floats aligned to a cache line; large blocks are aligned to a huge page.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace elmo_fast {

// While one of these is alive, large blocks that are freed are kept for the next blocks of their size. Weights packed
// again after an optimizer step then touch no fresh pages, which would cost as much as the packing.
class KeepBlocks {
 public:
  KeepBlocks();
  ~KeepBlocks();  // the last one frees the blocks that are left
  KeepBlocks(const KeepBlocks&) = delete;
  KeepBlocks& operator=(const KeepBlocks&) = delete;

 private:
  friend class AlignedBuffer;
  static void* take(size_t bytes);              // or null
  static bool keep(void* block, size_t bytes);  // or false: free it
};

// Not initialised unless requested; can be moved, not copied.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(int64_t n, bool zeroed = false) : size_(n) {
    if (n <= 0) return;
    const auto bytes = static_cast<size_t>(this->bytes());
    data_ = static_cast<float*>(is_large() ? KeepBlocks::take(bytes) : nullptr);
    if (!data_) data_ = allocate(bytes);
    if (zeroed) std::memset(data_, 0, bytes);
  }
  AlignedBuffer(AlignedBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~AlignedBuffer() {
    if (!is_large() || !KeepBlocks::keep(data_, static_cast<size_t>(bytes()))) std::free(data_);
  }

  float* data() { return data_; }
  const float* data() const { return data_; }
  int64_t size() const { return size_; }
  int64_t bytes() const { return size_ * static_cast<int64_t>(sizeof(float)); }

 private:
  static constexpr size_t kHugePage = size_t{2} << 20;
  bool is_large() const { return static_cast<size_t>(bytes()) >= 2 * kHugePage; }

  float* allocate(size_t bytes) const {
    // Weights of tens of megabytes are streamed at every time step; huge pages avoid most of the address look-ups.
    const size_t alignment = is_large() ? kHugePage : 64;
    void* p = nullptr;
    if (posix_memalign(&p, alignment, (bytes + alignment - 1) / alignment * alignment) != 0) throw std::bad_alloc();
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (is_large()) madvise(p, bytes, MADV_HUGEPAGE);
#endif
    return static_cast<float*>(p);
  }

  float* data_ = nullptr;
  int64_t size_ = 0;
};

}  // namespace elmo_fast
