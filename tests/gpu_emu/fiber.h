// A function with its own stack, which is announced to the sanitizers.
#pragma once

#include <cstddef>
#include <exception>

namespace elmo_fast {
namespace gpu {

// Exactly this many bytes of memory, filled with 0xff.
class Bytes {
 public:
  explicit Bytes(size_t n);
  ~Bytes();
  Bytes(const Bytes&) = delete;
  void* data() { return data_; }

 private:
  void* data_;
};

// For ThreadSanitizer: all before order_before(p), in any fiber, comes before all after order_after(p).
void order_before(void* p);
void order_after(void* p);

class Fiber {
 public:
  Fiber(void (*body)(void*), void* argument);
  ~Fiber();
  Fiber(const Fiber&) = delete;

  void enter();    // from outside: runs the body until it leaves or ends
  void leave();    // from inside
  void rethrow();  // throws what the body threw, if anything
  // order_before(p) of a fiber that will not be entered again.
  void abandon(void* p);

 private:
  struct State;
  State* state_;
};

}  // namespace gpu
}  // namespace elmo_fast
