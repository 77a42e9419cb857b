// All steps of one direction of a layer in one cooperative launch, on tensor cores, in 16 bits. Each block keeps the
// weights of its cells in shared memory for all steps: the gate rows of W_h and the columns of W_P. Sums and c are
// float32; h and m are rounded to the storage type.
//
// A step: every block computes its cells for all rows, multiplies their m by its columns of W_P, and writes the partial
// sums of all outputs. The blocks meet; each adds up some outputs, always in the same order; and they meet again. So a
// result depends on neither the batch nor on which block comes first.
//
// Source: the idea of persistent recurrent weights: Diamos et al. 2016, "Persistent RNNs".
#include "cuda/launch.h"
#include "cuda/lstm_cell.cuh"
#include "cuda/template_choice.cuh"

namespace elmo_fast {
namespace gpu {
namespace {

constexpr int kThreads = kPersistentWarps * kWarp;
constexpr int kParts = 32;  // partial sums are added in this many chains, then as a tree

struct LstmPersistentParams {
  LstmLayerParams layer;
  const int32_t* first_of_step;
  int direction, first_step, last_step;
  PersistentLayout at;
};

template <class T, int G, int NT>
struct Block {
  static constexpr int kRows = 8 * NT;
  static constexpr int kSplit = kPersistentWarps / G;  // warps that share a group's k
  static constexpr int kItems = G * NT * kWarp;        // a cell and two rows each
  static constexpr int kEach = (kItems + kThreads - 1) / kThreads;

  const LstmLayerParams& p;
  int size, row_words;  // size: of h, padded; row_words: 16-byte words of a staged row
  const Words4 *cells, *outputs;
  Words4 *m, *staged;
  float* partials;
};

// What a thread reads ahead for its items, while others still compute: W_x x and c.
template <int E>
struct Ahead {
  float xw[E][2][4], c[E][2];
};

struct Item {
  int group, tile, lane;
};

template <int NT>
GPU_DEVICE Item item_of(int i) {
  return {i / (kWarp * NT), i / kWarp % NT, i % kWarp};
}

template <class T, int G, int NT>
GPU_DEVICE void read_ahead(const Block<T, G, NT>& b, const Step& s, int first_row,
                           Ahead<Block<T, G, NT>::kEach>* ahead) {
  using B = Block<T, G, NT>;
#pragma unroll
  for (int e = 0; e < B::kEach; ++e) {
    const int i = thread() + e * kThreads;
    const Item item = item_of<NT>(i);
    const int cell = block_x() * 8 * G + item.group * 8 + item.lane / 4;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      // A row whose sentence has ended is read for nothing, which costs less than to look its length up first.
      const int row = first_row + item.tile * 8 + item.lane % 4 * 2 + r;
      const bool reads = i < B::kItems && holds(Mutant::kAheadRowBound, row < s.n_active) &&
                         holds(Mutant::kPersistentCellBound, cell < b.p.cell_size);
      const int64_t token = s.first_token + row;
      const int64_t slot = !reads                   ? 0
                           : b.p.slots[s.direction] ? b.p.slots[s.direction][token]
                                                    : token - b.p.first_token;
      const T* xw = static_cast<const T*>(b.p.xw[s.direction]) + slot * 4 * b.p.cell_size + cell;
#pragma unroll
      for (int gate = 0; gate < 4; ++gate)
        ahead->xw[e][r][gate] = reads ? to_float(xw[static_cast<int64_t>(gate) * b.p.cell_size]) : 0.0f;
      const int64_t state_row = static_cast<int64_t>(s.direction) * b.p.n_rows + row;
      ahead->c[e][r] = reads ? b.p.c[state_row * b.p.cell_size + cell] : 0.0f;
    }
  }
}

// Copies the rows' h into shared memory, with zeros for rows that do not exist.
template <class T, int G, int NT>
GPU_DEVICE void stage(const Block<T, G, NT>& b, const Step& s, int first_row) {
  const int words = b.size / 8;
  const Words4* h = static_cast<const Words4*>(b.p.stored_h) + static_cast<int64_t>(s.direction) * b.p.n_rows * words;
  for (int i = thread(); i < Block<T, G, NT>::kRows * words; i += kThreads) {
    const int r = i / words, k = i - r * words;
    const bool exists = holds(Mutant::kPersistentRowBound, first_row + r < s.n_active);
    b.staged[r * b.row_words + k] =
        exists ? load_exchanged(h + static_cast<int64_t>(first_row + r) * words + k) : Words4{0, 0, 0, 0};
  }
}

// Multiplies the block's gate rows by the staged h, and leaves each warp's sums where h was.
template <class T, int G, int NT>
GPU_DEVICE void multiply_gates(const Block<T, G, NT>& b) {
  using B = Block<T, G, NT>;
  const int warp = thread() / kWarp, lane = thread() % kWarp, group = warp % G, split = warp / G, n_k = b.size / kTile;
  float sums[2][NT][4] = {};
  for (int k = split; k < n_k; k += B::kSplit) {
    Words4 h[NT];
#pragma unroll
    for (int t = 0; t < NT; ++t) h[t] = b.staged[(t * 8 + lane / 4) * b.row_words + k * 4 + lane % 4];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const Words4* w = b.cells + ((static_cast<int64_t>(group) * 2 + half) * n_k + k) * 2 * kWarp + lane;
      const Words4 first = w[0], second = w[kWarp];
#pragma unroll
      for (int t = 0; t < NT; ++t) {
        multiply_add(T{}, sums[half][t], first, h[t].x, h[t].y);
        multiply_add(T{}, sums[half][t], second, h[t].z, h[t].w);
      }
    }
  }
  sync_block(Mutant::kSumsBarrier);
  Floats4* all = reinterpret_cast<Floats4*>(b.staged);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
#pragma unroll
    for (int t = 0; t < NT; ++t)
      all[((warp * 2 + half) * NT + t) * kWarp + lane] =
          Floats4{sums[half][t][0], sums[half][t][1], sums[half][t][2], sums[half][t][3]};
  }
}

template <class T, int G, int NT>
GPU_DEVICE Floats4 gate_sums(const Block<T, G, NT>& b, const Item& item, int half) {
  const Floats4* all = reinterpret_cast<const Floats4*>(b.staged);
  Floats4 sum{0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll
  for (int split = 0; split < Block<T, G, NT>::kSplit; ++split) {
    const Floats4 v = all[(((split * G + item.group) * 2 + half) * NT + item.tile) * kWarp + item.lane];
    sum.x += v.x, sum.y += v.y, sum.z += v.z, sum.w += v.w;
  }
  return sum;
}

template <class T, int G, int NT>
GPU_DEVICE void update_cells(const Block<T, G, NT>& b, const Step& s, int first_row,
                             const Ahead<Block<T, G, NT>::kEach>& ahead) {
  using B = Block<T, G, NT>;
#pragma unroll
  for (int e = 0; e < B::kEach; ++e) {
    const int i = thread() + e * kThreads;
    if (i >= B::kItems) break;
    const Item item = item_of<NT>(i);
    const Floats4 a = gate_sums(b, item, 0), z = gate_sums(b, item, 1);
    const float gates[2][4] = {{a.x, a.z, z.x, z.z}, {a.y, a.w, z.y, z.w}};
    const int own = item.group * 8 + item.lane / 4, cell = block_x() * 8 * G + own;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int at_tile = item.tile * 8 + item.lane % 4 * 2 + r;
      const TileRow at = tile_row(b.p, s, first_row + at_tile, Mutant::kUpdateRowBound, Mutant::kUpdateLength);
      if (!at.live || cell >= b.p.cell_size) continue;
      const float* xw = ahead.xw[e][r];
      const float state = next_state(b.p, gates[r][0] + xw[0], gates[r][1] + xw[1], gates[r][2] + xw[2], ahead.c[e][r],
                                     Mutant::kPersistentCellClip);
      b.p.c[(static_cast<int64_t>(s.direction) * b.p.n_rows + at.row) * b.p.cell_size + cell] = state;
      store(reinterpret_cast<T*>(b.m) + at_tile * kTile + own, sigmoid(gates[r][3] + xw[3]) * tanhf(state));
    }
  }
}

// Multiplies the block's columns of W_P by its m.
//   partials: (rows, blocks, size)
template <class T, int G, int NT>
GPU_DEVICE void multiply_outputs(const Block<T, G, NT>& b, int n_blocks, float* partials) {
  const int warp = thread() / kWarp, lane = thread() % kWarp;
  Words4 m[NT];
#pragma unroll
  for (int t = 0; t < NT; ++t) m[t] = b.m[(t * 8 + lane / 4) * 4 + lane % 4];
  for (int tile = warp; tile < b.size / 16; tile += kPersistentWarps) {
    const Words4 first = b.outputs[tile * 2 * kWarp + lane], second = b.outputs[(tile * 2 + 1) * kWarp + lane];
#pragma unroll
    for (int t = 0; t < NT; ++t) {
      float sums[4] = {0.0f, 0.0f, 0.0f, 0.0f};
      multiply_add(T{}, sums, first, m[t].x, m[t].y);
      multiply_add(T{}, sums, second, m[t].z, m[t].w);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int row = t * 8 + lane % 4 * 2 + i % 2, output = tile * 16 + lane / 4 + i / 2 * 8;
        partials[(static_cast<int64_t>(row) * n_blocks + block_x()) * b.size + output] = sums[i];
      }
    }
  }
}

GPU_DEVICE void add(Floats4* sum, const Floats4& x) { sum->x += x.x, sum->y += x.y, sum->z += x.z, sum->w += x.w; }

GPU_DEVICE Floats4 shuffle_add(Floats4 v, int bits) {
  return {v.x + shuffle_xor(v.x, bits), v.y + shuffle_xor(v.y, bits), v.z + shuffle_xor(v.z, bits),
          v.w + shuffle_xor(v.w, bits)};
}

// Adds the partial sums of rows [first_row, first_row + n_rows) and finishes their outputs. A unit is four outputs of a
// row; a warp takes U at a time. Chain q adds blocks q, q + 32, ...; the chains are added as a tree over the bits of q,
// highest first. U decides which of this happens within a thread, and nothing else.
template <class T, int U, class B>
GPU_DEVICE void finish_rows(const B& b, const Step& s, int first_row, int n_rows, int n_blocks, const float* partials) {
  constexpr int kLanes = kParts / U;  // lanes that share a unit
  const int lane = thread() % kWarp, part = lane / U, per_row = b.size / 4, units = n_rows * per_row;
  const int warp = block_x() * kPersistentWarps + thread() / kWarp;
  for (int first = warp * U; first < units; first += n_blocks * kPersistentWarps * U) {
    const int unit = first + lane % U, row = unit / per_row, output = (unit - row * per_row) * 4;
    const float* from = partials + static_cast<int64_t>(row) * n_blocks * b.size + output;
    Floats4 chains[U];
#pragma unroll
    for (int k = 0; k < U; ++k) {
      chains[k] = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll 4
      for (int i = part + k * kLanes; i < n_blocks; i += kParts)
        add(&chains[k], load_exchanged(reinterpret_cast<const Floats4*>(from + static_cast<int64_t>(i) * b.size)));
    }
#pragma unroll
    for (int k = U / 2; k > 0; k /= 2) {
#pragma unroll
      for (int j = 0; j < k; ++j) add(&chains[j], chains[j + k]);
    }
    Floats4 sum = chains[0];
#pragma unroll
    for (int bits = kWarp / 2; bits >= U; bits /= 2) sum = shuffle_add(sum, bits);
    const TileRow at = existing_row(b.p, s, first_row + row, Mutant::kFinishLength);
    if (part >= 4 || !at.live || !holds(Mutant::kPersistentOutputBound, output + part < b.p.projection_dim)) continue;
    const float h = finish_output<T>(b.p, s, at, output + part,
                                     part == 0   ? sum.x
                                     : part == 1 ? sum.y
                                     : part == 2 ? sum.z
                                                 : sum.w);
    store(static_cast<T*>(b.p.stored_h) + (static_cast<int64_t>(s.direction) * b.p.n_rows + at.row) * b.size + output +
              part,
          h);
  }
}

GPU_DEVICE void copy_words(const Words4* from, Words4* to, int n) {
  for (int i = thread(); i < n; i += kThreads) to[i] = from[i];
}

GPU_DEVICE Step step_at(const LstmPersistentParams& p, int number) {
  const int64_t first_token = p.first_of_step[number];
  return {number, p.direction, static_cast<int>(p.first_of_step[number + 1] - first_token), first_token};
}

template <class T, int G, int NT>
GPU_KERNEL void lstm_persistent_kernel(LstmPersistentParams p) {
  GPU_DYNAMIC_SHARED(shared);
  using B = Block<T, G, NT>;
  const int size = padded_to_tile(p.layer.projection_dim), row_words = size / 8 + 4;
  const int n_cells = G * size * 4, n_outputs = size * 4;  // words of 16 bytes
  const int n_blocks = (p.layer.cell_size + 8 * G - 1) / (8 * G);
  Words4* cells = piece<Words4>(shared, 0, static_cast<size_t>(n_cells));
  Words4* outputs = piece<Words4>(shared, p.at.projection, static_cast<size_t>(n_outputs));
  Words4* m = piece<Words4>(shared, p.at.m, static_cast<size_t>(B::kRows * 4));
  Words4* staged = piece<Words4>(shared, p.at.staged, (p.at.end - p.at.staged) / 16);
  const B b{p.layer, size, row_words, cells, outputs, m, staged, p.layer.partials};
  const Words4* fragments = static_cast<const Words4*>(p.layer.fragments[p.direction]) +
                            static_cast<int64_t>(block_x()) * (n_cells + n_outputs);
  copy_words(fragments, cells, n_cells);
  copy_words(fragments + n_cells, outputs, n_outputs);
  for (int i = thread(); i < B::kRows * 4; i += kThreads) m[i] = Words4{0, 0, 0, 0};
  // The first barrier of a step comes before all reads of these.

  const int64_t buffer_size = static_cast<int64_t>(kPersistentRows) * n_blocks * size;
  int last_step = p.last_step, buffer = 0;
  if (p.layer.n_steps && *p.layer.n_steps < last_step) last_step = *p.layer.n_steps;
  Ahead<B::kEach> ahead;
  if (p.first_step < last_step) read_ahead(b, step_at(p, p.first_step), 0, &ahead);
  for (int number = p.first_step; number < last_step; ++number) {
    const Step s = step_at(p, number);
    for (int first = 0; first < s.n_active; first += kPersistentRows) {
      const int n_rows = s.n_active - first < kPersistentRows ? s.n_active - first : kPersistentRows;
      float* partials = b.partials + buffer * buffer_size;
      for (int row = 0; row < n_rows; row += B::kRows) {
        stage(b, s, first + row);
        sync_block(Mutant::kPersistentStageBarrier);
        multiply_gates(b);
        sync_block(Mutant::kSumsReadyBarrier);
        update_cells(b, s, first + row, ahead);
        // c of the next rows is that of this thread's own items, whichever rows these are.
        if (first + row + B::kRows < s.n_active)
          read_ahead(b, s, first + row + B::kRows, &ahead);
        else if (number + 1 < last_step)
          read_ahead(b, step_at(p, number + 1), 0, &ahead);
        sync_block(Mutant::kCellsReadyBarrier);
        multiply_outputs(b, n_blocks, partials + static_cast<int64_t>(row) * n_blocks * size);
      }
      sync_grid(Mutant::kGridSyncPartials);
      if (n_rows <= 8)
        finish_rows<T, 1>(b, s, first, n_rows, n_blocks, partials);
      else
        finish_rows<T, 4>(b, s, first, n_rows, n_blocks, partials);
      buffer ^= 1;
    }
    sync_grid(Mutant::kGridSyncOutputs);
  }
}

LaunchConfig config_of(const PersistentPlan& plan) {
  LaunchConfig config;
  config.grid_x = static_cast<unsigned>(plan.blocks);
  config.block = static_cast<unsigned>(kThreads);
  config.shared_bytes = plan.shared_bytes;
  config.cooperative = true;
  return config;
}

template <int N>
using Constant = std::integral_constant<int, N>;

// Calls body with 1, 2 or 4 as a constant.
template <class Body>
void with_power(int n, Body body) {
  n == 1 ? body(Constant<1>{}) : n == 2 ? body(Constant<2>{}) : body(Constant<4>{});
}

// Calls body(kernel) with the kernel of a plan.
template <class Body>
void with_kernel(Storage storage, const PersistentPlan& plan, Body body) {
  with_power(plan.groups, [&](auto groups) {
    with_power(plan.tiles, [&](auto tiles) {
      constexpr int G = decltype(groups)::value, NT = decltype(tiles)::value;
      if (storage == Storage::kFloat16)
        body(lstm_persistent_kernel<Half, G, NT>);
      else
        body(lstm_persistent_kernel<Bfloat16, G, NT>);
    });
  });
}

}  // namespace

void prepare_persistent(Storage storage, const PersistentPlan& plan, const DeviceProperties& device) {
  with_kernel(storage, plan, [&](auto kernel) {
    const int fit =
        allow_shared("lstm_persistent_kernel", kernel, config_of(plan), device.shared_bytes, kTensorCoreCapability);
    if (fit * device.multiprocessors < plan.blocks)
      throw Error("lstm_persistent_kernel: expected room for " + std::to_string(plan.blocks) + " blocks on " +
                  device.name + ", got " + std::to_string(fit * device.multiprocessors));
  });
}

void launch_lstm_persistent(Storage storage, const LstmLayerParams& layer, const PersistentPlan& plan,
                            const int32_t* first_of_step, int first_step, int last_step, void* stream) {
  LstmPersistentParams p{layer,      first_of_step, 0,
                         first_step, last_step,     persistent_layout(plan.groups, plan.tiles, layer.projection_dim)};
  with_kernel(storage, plan, [&](auto kernel) {
    launch("lstm_persistent_kernel", kernel, config_of(plan), static_cast<Stream>(stream), p);
    p.direction = 1;
    try {
      launch("lstm_persistent_kernel", kernel, config_of(plan), static_cast<Stream>(stream), p);
    } catch (const Error&) {
      // Without CUDA's name of the error, for which a caller would run both directions another way.
      throw Error("lstm_persistent_kernel: the first direction runs, but there is no room for the second");
    }
  });
}

}  // namespace gpu
}  // namespace elmo_fast
