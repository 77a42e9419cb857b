#include "fiber.h"

#include <sys/mman.h>
#include <ucontext.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <new>
#include <stdexcept>

#if defined(ELMO_FAST_ASAN)
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(ELMO_FAST_TSAN)
#include <sanitizer/tsan_interface.h>
#endif

namespace elmo_fast {
namespace gpu {
namespace {

constexpr size_t kStackBytes = size_t{256} << 10;

// A stack, and ThreadSanitizer's record of who runs on it. Both are reused, because creating them takes longer than
// most kernels. The queue is a little longer than a block, so that a thread of one block is not mistaken for the thread
// with the same number in the next block, which would then seem to have waited for it.
struct Place {
  void* stack;
  void* tsan_fiber;
};

constexpr size_t kMoreThanABlock = 37;

std::deque<Place>& free_places() {
  static std::deque<Place> places;
  return places;
}

Place make_place() {
  void* stack = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (stack == MAP_FAILED) throw std::bad_alloc();
#if defined(ELMO_FAST_TSAN)
  return {stack, __tsan_create_fiber(0)};
#else
  return {stack, nullptr};
#endif
}

Place take_place() {
  std::deque<Place>& places = free_places();
  while (places.size() <= kMoreThanABlock) places.push_back(make_place());
  const Place place = places.front();
  places.pop_front();
  return place;
}

}  // namespace

Bytes::Bytes(size_t n) : data_(std::malloc(n)) {
  if (!data_) throw std::bad_alloc();
  std::memset(data_, 0xff, n);
}

Bytes::~Bytes() { std::free(data_); }

void order_before([[maybe_unused]] void* p) {
#if defined(ELMO_FAST_TSAN)
  __tsan_release(p);
#endif
}

void order_after([[maybe_unused]] void* p) {
#if defined(ELMO_FAST_TSAN)
  __tsan_acquire(p);
#endif
}

struct Fiber::State {
  void (*body)(void*);
  void* argument;
  std::exception_ptr error;
  Place place;
  ucontext_t inside, outside;
  void* fake_stack = nullptr;  // AddressSanitizer's
  const void* outer_stack = nullptr;
  size_t outer_size = 0;
  void* tsan_outside = nullptr;
  bool ended = false;

  // Called first on a stack that was just entered.
  void arrived_inside() {
#if defined(ELMO_FAST_ASAN)
    __sanitizer_finish_switch_fiber(fake_stack, &outer_stack, &outer_size);
#endif
  }

  void go_outside() {
#if defined(ELMO_FAST_ASAN)
    __sanitizer_start_switch_fiber(ended ? nullptr : &fake_stack, outer_stack, outer_size);
#endif
#if defined(ELMO_FAST_TSAN)
    __tsan_switch_to_fiber(tsan_outside, __tsan_switch_to_fiber_no_sync);
#endif
    swapcontext(&inside, &outside);
    arrived_inside();
  }

  static void run(unsigned high, unsigned low) {
    auto* s = reinterpret_cast<State*>(static_cast<uintptr_t>(high) << 32 | low);
    s->arrived_inside();
    try {
      s->body(s->argument);
    } catch (...) {
      s->error = std::current_exception();
    }
    s->ended = true;
    s->go_outside();
  }
};

Fiber::Fiber(void (*body)(void*), void* argument) : state_(new State{body, argument, nullptr, take_place(), {}, {}}) {
  getcontext(&state_->inside);
  state_->inside.uc_stack.ss_sp = state_->place.stack;
  state_->inside.uc_stack.ss_size = kStackBytes;
  state_->inside.uc_link = nullptr;
  const auto address = reinterpret_cast<uintptr_t>(state_);
  makecontext(&state_->inside, reinterpret_cast<void (*)()>(&State::run), 2, static_cast<unsigned>(address >> 32),
              static_cast<unsigned>(address));
}

Fiber::~Fiber() {
  free_places().push_back(state_->place);
  delete state_;
}

void Fiber::enter() {
  [[maybe_unused]] void* fake_stack = nullptr;
#if defined(ELMO_FAST_ASAN)
  __sanitizer_start_switch_fiber(&fake_stack, state_->place.stack, kStackBytes);
#endif
#if defined(ELMO_FAST_TSAN)
  state_->tsan_outside = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(state_->place.tsan_fiber, __tsan_switch_to_fiber_no_sync);
#endif
  swapcontext(&state_->outside, &state_->inside);
#if defined(ELMO_FAST_ASAN)
  __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
}

void Fiber::leave() { state_->go_outside(); }

void Fiber::abandon([[maybe_unused]] void* p) {
#if defined(ELMO_FAST_TSAN)
  void* const outside = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(state_->place.tsan_fiber, __tsan_switch_to_fiber_no_sync);
  __tsan_release(p);
  __tsan_switch_to_fiber(outside, __tsan_switch_to_fiber_no_sync);
#endif
}

void Fiber::rethrow() {
  if (state_->error) std::rethrow_exception(state_->error);
}

}  // namespace gpu
}  // namespace elmo_fast
