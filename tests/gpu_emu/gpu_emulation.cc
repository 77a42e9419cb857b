// The emulator's core. It is compiled without sanitizers and announces its fibers to them, so that they see only the
// memory accesses of the kernels. For ThreadSanitizer a switch between fibers orders nothing; the events that do in
// CUDA (barriers, grid synchronisation, the start and end of a launch) are announced here. Shuffles order nothing in
// either.
#include "cuda/gpu.cuh"

#include <algorithm>
#include <array>
#include <memory>
#include <random>
#include <stdexcept>
#include <utility>
#include <vector>

#include "fiber.h"

namespace elmo_fast {
namespace gpu {

Mutant active_mutant = Mutant::kNone;
Counters counters;

namespace {

constexpr int kWarpSize = 32;

enum class Waits { kNot, kShuffle, kProduct, kBlock, kGrid, kDone };

struct Block;

struct Thread {
  Position at;
  Block* block;
  Waits waits = Waits::kNot;
  float value = 0.0f;  // of a shuffle: offered, then received
  int bits = 0;
  Words4 a{};  // of a product: this lane's fragments
  uint32_t b[2] = {};
  float sums[4] = {};
  Operand operand = Operand::kFloat16;
  struct SharedArray* wanted = nullptr;  // waits for it to get its memory
  std::unique_ptr<Fiber> fiber;
};

// Something that orders what was done before with what is done after. Two take turns, so that a thread that is already
// at the next barrier is not taken for one that was at this.
struct Order {
  char sync[2];
  unsigned generation = 0;
};

// One declaration of shared memory, or one piece of the dynamic one.
struct SharedArray {
  const void* declaration = nullptr;  // null: dynamic
  size_t offset = 0, size = 0;
  std::unique_ptr<Bytes> bytes;
};

struct Block {
  std::vector<Thread> threads;
  std::array<SharedArray, 8> shared;  // of a fixed size, because allocating memory would be a write by the thread
  size_t n_shared = 0;
  Order order;
};

struct Grid {
  const char* name;
  LaunchConfig config;
  Order order;
  void (*run_thread)(const void*);
  const void* call;
  char begin, end;
  std::vector<std::unique_ptr<Bytes>> garbage;  // shared memory of blocks that have ended
};

Schedule schedule = Schedule::kInOrder;
std::mt19937_64 random_numbers;
DeviceProperties device{"emulated", 90, 4, 64 * 1024, true};

Grid* grid = nullptr;
Thread* current = nullptr;

void wait(Waits what) {
  current->waits = what;
  current->fiber->leave();
}

template <class T>
std::vector<T*> in_schedule_order(std::vector<T*> items) {
  if (schedule == Schedule::kReverse) std::reverse(items.begin(), items.end());
  if (schedule == Schedule::kRandom) std::shuffle(items.begin(), items.end(), random_numbers);
  return items;
}

bool all(const std::vector<Thread*>& threads, Waits what) {
  return std::all_of(threads.begin(), threads.end(), [=](const Thread* t) { return t->waits == what; });
}

std::vector<Thread*> threads_of(Block& block, size_t begin, size_t end) {
  std::vector<Thread*> found;
  for (size_t i = begin; i < std::min(end, block.threads.size()); ++i) found.push_back(&block.threads[i]);
  return found;
}

float element(uint32_t word, int i, Operand operand) {
  const auto bits = static_cast<uint16_t>(i == 0 ? word & 0xffffu : word >> 16);
  return operand == Operand::kFloat16 ? half_to_float(bits) : word_to_float(static_cast<uint32_t>(bits) << 16);
}

// Multiplies the fragments of a warp: row r of a is in lanes 4 (r % 8) to 4 (r % 8) + 3, column c of b in lanes 4 c to
// 4 c + 3.
void multiply(const std::vector<Thread*>& lanes) {
  float products[kWarpSize][4];
  for (size_t lane = 0; lane < kWarpSize; ++lane) {
    for (size_t i = 0; i < 4; ++i) {
      const size_t row = lane / 4, column = lane % 4 * 2 + i % 2;
      float sum = 0.0f;
      for (size_t t = 0; t < 4; ++t) {
        const Thread &x = *lanes[row * 4 + t], &y = *lanes[column * 4 + t];
        const uint32_t a[2] = {i < 2 ? x.a.x : x.a.y, i < 2 ? x.a.z : x.a.w};
        for (size_t pair = 0; pair < 2; ++pair)
          for (int e = 0; e < 2; ++e) sum += element(a[pair], e, x.operand) * element(y.b[pair], e, y.operand);
      }
      products[lane][i] = lanes[lane]->sums[i] + sum;
    }
  }
  for (size_t lane = 0; lane < kWarpSize; ++lane) std::copy_n(products[lane], 4, lanes[lane]->sums);
}

void exchange(const std::vector<Thread*>& lanes) {
  float values[kWarpSize];
  for (size_t i = 0; i < kWarpSize; ++i) values[i] = lanes[i]->value;
  for (size_t i = 0; i < kWarpSize; ++i) lanes[i]->value = values[i ^ static_cast<size_t>(lanes[i]->bits)];
}

// Lets a warp continue, after `act` on its lanes, when all of them wait for this. A warp of fewer than 32 threads waits
// for ever.
bool finish_warps(Block& block, Waits what, void (*act)(const std::vector<Thread*>&)) {
  bool any = false;
  for (size_t begin = 0; begin < block.threads.size(); begin += kWarpSize) {
    const std::vector<Thread*> lanes = threads_of(block, begin, begin + kWarpSize);
    if (lanes.size() != kWarpSize || !all(lanes, what)) continue;
    act(lanes);
    for (Thread* lane : lanes) lane->waits = Waits::kNot;
    any = true;
  }
  return any;
}

bool finish_barrier(const std::vector<Thread*>& threads, Waits kind, Order* order) {
  if (!all(threads, kind)) return false;
  ++order->generation;
  for (Thread* t : threads) t->waits = Waits::kNot;
  return true;
}

[[noreturn]] void report_deadlock(const std::vector<Thread*>& threads) {
  std::string text = std::string(grid->name) + ": deadlock:";
  const std::pair<Waits, const char*> kinds[] = {{Waits::kShuffle, "at a shuffle"},
                                                 {Waits::kProduct, "at a product"},
                                                 {Waits::kBlock, "at a block's barrier"},
                                                 {Waits::kGrid, "at a grid's barrier"},
                                                 {Waits::kDone, "done"}};
  for (const auto& [kind, words] : kinds) {
    const auto n = std::count_if(threads.begin(), threads.end(), [k = kind](Thread* t) { return t->waits == k; });
    if (n) text += " " + std::to_string(n) + " threads " + words + ";";
  }
  throw std::logic_error(text);
}

// Runs blocks that are on the device at the same time.
void run_blocks(std::vector<std::unique_ptr<Block>>& blocks) {
  std::vector<Thread*> threads;
  for (auto& block : blocks)
    for (Thread& t : block->threads) threads.push_back(&t);
  while (!all(threads, Waits::kDone)) {
    bool any = false;
    for (Thread* t : in_schedule_order(threads)) {
      if (t->waits != Waits::kNot) continue;
      any = true;
      current = t;
      t->fiber->enter();
      while (t->wanted) {
        // Allocated here, not by the fiber, because allocating is a write that no kernel performs.
        t->wanted->bytes = std::make_unique<Bytes>(t->wanted->size);
        t->wanted = nullptr;
        order_before(&grid->begin);
        t->fiber->enter();
      }
      current = nullptr;
      t->fiber->rethrow();
    }
    if (any) continue;
    for (auto& block : blocks) {
      any |= finish_warps(*block, Waits::kShuffle, exchange);
      any |= finish_warps(*block, Waits::kProduct, multiply);
      any |= finish_barrier(threads_of(*block, 0, block->threads.size()), Waits::kBlock, &block->order);
    }
    if (grid->config.cooperative) any |= finish_barrier(threads, Waits::kGrid, &grid->order);
    if (!any) report_deadlock(threads);
  }
}

void run_thread(void* p) {
  order_after(&grid->begin);
  grid->run_thread(grid->call);
  order_before(&grid->end);
  static_cast<Thread*>(p)->waits = Waits::kDone;
}

std::unique_ptr<Block> make_block(unsigned x, unsigned y, unsigned z) {
  auto block = std::make_unique<Block>();
  block->threads.resize(grid->config.block);
  for (unsigned i = 0; i < grid->config.block; ++i) {
    Thread& t = block->threads[i];
    t.block = block.get();
    t.at = {static_cast<int>(i), static_cast<int>(grid->config.block), static_cast<int>(x), static_cast<int>(y),
            static_cast<int>(z)};
    t.fiber = std::make_unique<Fiber>(run_thread, &t);
  }
  return block;
}

void* take_shared(const void* declaration, size_t offset, size_t size) {
  Block& block = *current->block;
  SharedArray* found = block.shared.data();
  SharedArray* const end = found + block.n_shared;
  while (found != end && (found->declaration != declaration || found->offset != offset || found->size != size)) ++found;
  if (found == end) {
    if (block.n_shared == block.shared.size()) throw std::logic_error("more arrays in shared memory than expected");
    ++block.n_shared;
    found->declaration = declaration, found->offset = offset, found->size = size;
    current->wanted = found;
    current->fiber->leave();
  }
  order_after(&grid->begin);
  return found->bytes->data();
}

// Shared memory is kept until the launch has ended, because freeing it is a write, ordered only after that end.
void end_blocks(std::vector<std::unique_ptr<Block>>* blocks) {
  for (auto& block : *blocks)
    for (SharedArray& array : block->shared) grid->garbage.push_back(std::move(array.bytes));
  blocks->clear();
}

void barrier(Waits kind, Order& order) {
  char* const sync = &order.sync[order.generation % 2];
  order_before(sync);
  wait(kind);
  order_after(sync);
}

}  // namespace

Position position() { return current->at; }

void block_barrier() { barrier(Waits::kBlock, current->block->order); }

void grid_barrier() {
  if (!grid->config.cooperative) throw std::logic_error(std::string(grid->name) + ": not a cooperative launch");
  barrier(Waits::kGrid, grid->order);
}

float shuffle_xor(float value, int bits) {
  current->value = value;
  current->bits = bits;
  wait(Waits::kShuffle);
  return current->value;
}

void multiply_fragments(Operand operand, float (&d)[4], const Words4& a, uint32_t b0, uint32_t b1) {
  current->operand = operand;
  current->a = a;
  current->b[0] = b0, current->b[1] = b1;
  std::copy_n(d, 4, current->sums);
  wait(Waits::kProduct);
  std::copy_n(current->sums, 4, d);
}

void* shared_array(const void* declaration, size_t bytes) { return take_shared(declaration, 0, bytes); }

void* dynamic_array(size_t offset, size_t bytes) {
  if (offset % 16 || offset + bytes > grid->config.shared_bytes)
    throw std::logic_error(std::string(grid->name) + ": dynamic shared memory: " + std::to_string(bytes) +
                           " bytes at " + std::to_string(offset) + " of " + std::to_string(grid->config.shared_bytes));
  return take_shared(nullptr, offset, bytes);
}

void run_grid(const char* name, const LaunchConfig& config, void (*thread)(const void*), const void* call) {
  ++counters.launches;
  if (grid) throw std::logic_error("a kernel launched a kernel");
  if (!config.grid_x || !config.grid_y || !config.grid_z || !config.block || config.block > 1024 ||
      config.grid_y > 65535 || config.grid_z > 65535 || config.shared_bytes > device.shared_bytes)
    throw Error(std::string("launching ") + name + ": invalid configuration");
  if (config.cooperative && static_cast<int>(config.grid_x) > device.multiprocessors)
    throw Error(std::string("launching ") + name +
                ": cudaErrorCooperativeLaunchTooLarge: too many blocks in a cooperative launch");
  Grid g{name, config, {}, thread, call, 0, 0, {}};
  struct Current {
    explicit Current(Grid* g) { grid = g; }
    ~Current() { grid = nullptr, current = nullptr; }
  } scope(&g);
  order_before(&g.begin);
  struct Index {
    unsigned x, y, z;
  };
  std::vector<Index> indices;
  for (unsigned z = 0; z < config.grid_z; ++z)
    for (unsigned y = 0; y < config.grid_y; ++y)
      for (unsigned x = 0; x < config.grid_x; ++x) indices.push_back({x, y, z});
  std::vector<Index*> order;
  for (Index& i : indices) order.push_back(&i);
  std::vector<std::unique_ptr<Block>> blocks;
  try {
    for (const Index* i : in_schedule_order(order)) {
      blocks.push_back(make_block(i->x, i->y, i->z));
      if (config.cooperative) continue;
      run_blocks(blocks);
      end_blocks(&blocks);
    }
    if (config.cooperative) run_blocks(blocks);
  } catch (...) {
    for (auto& block : blocks)
      for (Thread& t : block->threads) t.fiber->abandon(&g.end);
    order_after(&g.end);
    throw;
  }
  end_blocks(&blocks);
  order_after(&g.end);
}

int warm_up(const LaunchConfig& config) {
  ++counters.warm_ups;
  return config.shared_bytes <= device.shared_bytes ? 1 : 0;
}

int count_devices() { return 1; }

DeviceProperties query_device(int number) {
  ++counters.queries;
  if (number != 0) throw Error("asking for the properties of CUDA device " + std::to_string(number));
  return device;
}

int current_device() { return 0; }

void choose_device(int number) {
  if (number != 0) throw Error("choosing CUDA device " + std::to_string(number) + ": invalid device ordinal");
}

void set_schedule(Schedule s, uint64_t seed) {
  schedule = s;
  random_numbers.seed(seed);
}

void set_device(const DeviceProperties& d) { device = d; }

float half_to_float(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16, exponent = (bits >> 10) & 31u;
  const uint32_t mantissa = bits & 1023u;
  if (exponent == 31) return word_to_float(sign | 0x7f800000u | mantissa << 13);
  if (exponent == 0) return (sign ? -1.0f : 1.0f) * std::ldexp(static_cast<float>(mantissa), -24);
  return word_to_float(sign | (exponent + 112) << 23 | mantissa << 13);
}

uint16_t float_to_half(float x) {  // to nearest, ties to even
  const uint16_t sign = static_cast<uint16_t>((float_to_word(x) >> 16) & 0x8000u);
  const float magnitude = std::fabs(x);
  if (std::isnan(x)) return static_cast<uint16_t>(sign | 0x7e00u);
  if (magnitude == 0.0f) return sign;
  if (magnitude >= 65520.0f) return static_cast<uint16_t>(sign | 0x7c00u);
  int exponent = 0;
  std::frexp(magnitude, &exponent);
  const int unit = std::max(exponent - 11, -24);  // the weight of the last bit
  const auto steps = static_cast<uint32_t>(std::nearbyint(std::ldexp(magnitude, -unit)));
  // Normal numbers count on from the largest subnormal one; a carry out of the mantissa does the right thing.
  const uint32_t bits = unit == -24 ? steps : (static_cast<uint32_t>(unit + 24) << 10) + steps;
  return static_cast<uint16_t>(sign | bits);
}

}  // namespace gpu
}  // namespace elmo_fast
