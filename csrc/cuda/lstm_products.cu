// What remains of an LSTM step when a library multiplies: the cells, from the product of h and W_h, and the outputs,
// from the product of m and W_P. Many rows are faster this way: a product of matrices reads the weights once for all of
// them.
#include "cuda/launch.h"
#include "cuda/lstm_cell.cuh"
#include "cuda/template_choice.cuh"

namespace elmo_fast {
namespace gpu {
namespace {

constexpr int kThreads = 256;

struct LstmProductParams {
  LstmLayerParams layer;
  LstmProduct product;
  Step step;  // of direction 0
};

// X: the products' type.
template <class T, class X>
GPU_KERNEL void lstm_product_cells_kernel(LstmProductParams p) {
  const LstmLayerParams& layer = p.layer;
  Step s = p.step;
  s.direction = block_z();
  const int cell = block_y() * block_size() + thread();
  const TileRow at = existing_row(layer, s, block_x(), Mutant::kProductLength);
  if (!at.live || !holds(Mutant::kProductCellBound, cell < layer.cell_size)) return;
  const int64_t slot = layer.slots[s.direction] ? layer.slots[s.direction][at.token] : at.token - layer.first_token;
  const T* xw = static_cast<const T*>(layer.xw[s.direction]) + slot * 4 * layer.cell_size + cell;
  const int64_t row = static_cast<int64_t>(s.direction) * s.n_active + at.row;
  const X* product = static_cast<const X*>(p.product.values) + row * 4 * layer.cell_size + cell;
  float gates[4];
#pragma unroll
  for (int i = 0; i < 4; ++i)
    gates[i] = to_float(product[static_cast<int64_t>(i) * layer.cell_size]) +
               to_float(xw[static_cast<int64_t>(i) * layer.cell_size]);
  float* c = layer.c + (static_cast<int64_t>(s.direction) * layer.n_rows + at.row) * layer.cell_size + cell;
  const float state = next_state(layer, gates[0], gates[1], gates[2], *c, Mutant::kProductCellClip);
  *c = state;
  store(static_cast<T*>(p.product.m) + row * layer.cell_size + cell, sigmoid(gates[3]) * tanhf(state));
}

template <class T, class X>
GPU_KERNEL void lstm_product_outputs_kernel(LstmProductParams p) {
  const LstmLayerParams& layer = p.layer;
  Step s = p.step;
  s.direction = block_z();
  const int output = block_y() * block_size() + thread();
  const TileRow at = existing_row(layer, s, block_x(), Mutant::kProductOutputLength);
  if (!at.live || !holds(Mutant::kProductOutputBound, output < layer.projection_dim)) return;
  const int64_t row = static_cast<int64_t>(s.direction) * s.n_active + at.row;
  const X* product = static_cast<const X*>(p.product.values) + row * layer.projection_dim + output;
  const float h = finish_output<T>(layer, s, at, output, to_float(*product));
  const int64_t stored = static_cast<int64_t>(s.direction) * layer.n_rows + at.row;
  store(static_cast<T*>(layer.stored_h) + stored * padded_to_tile(layer.projection_dim) + output, h);
}

// Calls body(T{}, X{}): X is T or float.
template <class Body>
void with_types(Storage storage, bool in_float, Body body) {
  with_storage(storage, [&](auto type) { in_float ? body(type, float{}) : body(type, type); });
}

template <class Kernel>
void launch_part(const char* name, Kernel kernel, const LstmLayerParams& layer, const LstmProduct& product, int size,
                 void* stream) {
  LaunchConfig config;
  config.grid_x = static_cast<unsigned>(product.n_active);
  config.grid_y = static_cast<unsigned>((size + kThreads - 1) / kThreads);
  config.grid_z = 2;
  config.block = kThreads;
  const LstmProductParams p{layer, product, {product.step, 0, product.n_active, product.first_token}};
  launch(name, kernel, config, static_cast<Stream>(stream), p);
}

}  // namespace

void launch_lstm_product_cells(Storage storage, const LstmLayerParams& layer, const LstmProduct& product,
                               void* stream) {
  with_types(storage, product.in_float, [&](auto type, auto value) {
    launch_part("lstm_product_cells_kernel", lstm_product_cells_kernel<decltype(type), decltype(value)>, layer, product,
                layer.cell_size, stream);
  });
}

void launch_lstm_product_outputs(Storage storage, const LstmLayerParams& layer, const LstmProduct& product,
                                 void* stream) {
  with_types(storage, product.in_float, [&](auto type, auto value) {
    launch_part("lstm_product_outputs_kernel", lstm_product_outputs_kernel<decltype(type), decltype(value)>, layer,
                product, layer.projection_dim, stream);
  });
}

}  // namespace gpu
}  // namespace elmo_fast
