#include <algorithm>
#include <array>
#include <numeric>

#include "arrays.h"
#include "cases.h"
#include "cuda/launch.h"

namespace elmo_fast {
namespace gpu {
namespace {

enum class Way { kSteps, kPersistent, kProducts };
constexpr std::pair<Way, const char*> kWays[] = {
    {Way::kSteps, "lstm_steps "}, {Way::kPersistent, "lstm_persistent "}, {Way::kProducts, "lstm_products "}};

struct Sizes {
  int projection_dim, cell_size;
  std::vector<int32_t> lengths;  // longest first
  bool has_slots = false;        // the input product is shared by equal words
  bool as_graph = false;         // all rows run at every step, and the kernel checks their lengths
  bool is_last = false;          // no layer above, and none below
  int groups = 1;                // of 8 cells in a block of the persistent kernel
};

template <class T>
using Pair = std::array<Array<T>, 2>;

size_t product(int a, int b) { return static_cast<size_t>(a) * static_cast<size_t>(b); }

// Rows of weights, padded with zeros.
template <class T>
Array<T> random_weights(int n_rows, int row_size) {
  Array<T> w = zeros<T>(product(n_rows, padded(row_size)));
  const Array<T> values = random_array<T>(product(n_rows, row_size), 1.5f / std::sqrt(static_cast<float>(row_size)));
  for (int r = 0; r < n_rows; ++r)
    std::copy_n(values.get() + product(r, row_size), row_size, w.get() + product(r, padded(row_size)));
  return w;
}

// The weights of the persistent kernel's blocks, one value at a time: where a lane finds it for its products.
//   state: (4 * C, padded P); projection: (P, padded C)
template <class T>
Array<T> fragments_of(const Array<T>& state, const Array<T>& projection, int P, int C, int groups) {
  const int size = padded_to_tile(P), cells = 8 * groups, n_blocks = (C + cells - 1) / cells;
  const size_t n_state = product(4 * cells, size), each = n_state + product(size, kTile);
  Array<T> all = zeros<T>(static_cast<size_t>(n_blocks) * each);
  // The place, in 16 bits, of k within a row's fragments: 32 values of k are two products, each with 8 values a lane.
  const auto place = [](int row, int k) {
    const int lane = row % 8 * 4 + k / 8 % 4, second = k / 4 % 2, upper = k / 2 % 2;
    return ((k / 32 * 2 + second) * 32 + lane) * 8 + upper * 4 + row / 8 * 2 + k % 2;
  };
  for (int j = 0; j < C; ++j) {
    T* block = all.get() + static_cast<size_t>(j / cells) * each;
    const int own = j % cells;
    for (int gate = 0; gate < 4; ++gate)
      for (int k = 0; k < P; ++k)
        block[product(own / 8 * 2 + gate / 2, 16 * size) + static_cast<size_t>(place(gate % 2 * 8 + own % 8, k))] =
            state.data[product(gate * C + j, padded(P)) + static_cast<size_t>(k)];
    for (int o = 0; o < P; ++o)
      block[n_state + product(o / 16, 16 * kTile) + static_cast<size_t>(place(o % 16, own))] =
          projection.data[product(o, padded(C)) + static_cast<size_t>(j)];
  }
  return all;
}

// One layer and all that its kernels read and write.
template <class T>
struct Layer {
  static constexpr float kCellClip = 0.4f, kProjClip = 0.25f;  // low enough to take effect
  static constexpr int kWords = 5;

  const Sizes sizes;
  const int P, C, n, steps;
  const int32_t n_steps = steps;
  std::vector<int32_t> first_of_step{0};
  int tokens = 0;
  Pair<T> state_weights, projection_weights, xw, below, above;
  Array<T> out;
  Array<float> h, c, m, partials;
  Pair<T> fragments;
  Array<T> stored_h;
  Array<int32_t> lengths, rows, offsets;
  Pair<int32_t> slots;
  LstmLayerParams p{};
  Array<float> first_h, first_c;

  explicit Layer(const Sizes& s)
      : sizes(s),
        P(s.projection_dim),
        C(s.cell_size),
        n(static_cast<int>(s.lengths.size())),
        steps(s.lengths[0]),
        tokens(count_tokens()),
        state_weights{random_weights<T>(4 * C, P), random_weights<T>(4 * C, P)},
        projection_weights{random_weights<T>(P, C), random_weights<T>(P, C)},
        xw{random_array<T>(product(xw_rows(), 4 * C), 1.0f), random_array<T>(product(xw_rows(), 4 * C), 1.0f)},
        below{random_array<T>(product(tokens, P), 0.5f), random_array<T>(product(tokens, P), 0.5f)},
        above{Array<T>(product(tokens, P)), Array<T>(product(tokens, P))},
        out(zeros<T>(product(n * steps, 2 * P))),
        h(zeros<float>(product(2 * n, padded(P)))),
        c(random_array<float>(product(2 * n, C), 0.3f)),
        m(zeros<float>(product(2 * n, padded(C)))),
        partials(product(2 * kPersistentRows * ((C + 8 * s.groups - 1) / (8 * s.groups)), padded_to_tile(P))),
        fragments{fragments_of(state_weights[0], projection_weights[0], P, C, s.groups),
                  fragments_of(state_weights[1], projection_weights[1], P, C, s.groups)},
        stored_h(zeros<T>(product(2 * n, padded_to_tile(P)))),
        lengths(static_cast<size_t>(n)),
        rows(static_cast<size_t>(n)),
        offsets(first_of_step.size()),
        slots{Array<int32_t>(static_cast<size_t>(tokens)), Array<int32_t>(static_cast<size_t>(tokens))},
        first_h(h.size),
        first_c(c.size) {
    for (int i = 0; i < 2 * n; ++i)
      for (int j = 0; j < P; ++j)
        h.data[product(i, padded(P)) + static_cast<size_t>(j)] = static_cast<float>(generator()() % 100) / 400.0f;
    for (int i = 0; i < 2 * n; ++i)
      for (int j = 0; j < P; ++j)
        store(&stored_h.data[product(i, padded_to_tile(P)) + static_cast<size_t>(j)],
              h.data[product(i, padded(P)) + static_cast<size_t>(j)]);
    std::copy_n(h.get(), h.size, first_h.get());
    std::copy_n(c.get(), c.size, first_c.get());
    std::copy_n(s.lengths.data(), n, lengths.get());
    for (int r = 0; r < n; ++r) rows.data[static_cast<size_t>(r)] = n - 1 - r;
    std::copy_n(first_of_step.data(), first_of_step.size(), offsets.get());
    for (auto& direction : slots)
      for (size_t i = 0; i < direction.size; ++i) direction.data[i] = static_cast<int32_t>(generator()() % kWords);
    for (int d = 0; d < 2; ++d) {
      p.state_weights[d] = state_weights[d].get(), p.projection_weights[d] = projection_weights[d].get();
      p.xw[d] = xw[d].get(), p.fragments[d] = fragments[d].get();
      if (s.has_slots) p.slots[d] = slots[d].get();
      if (!s.is_last) p.below[d] = below[d].get(), p.above[d] = above[d].get();
    }
    p.out = out.get(), p.lengths = lengths.get(), p.rows = rows.get();
    p.stored_h = stored_h.get(), p.partials = partials.get(), p.n_steps = &n_steps;
    p.h = h.get(), p.c = c.get(), p.m = m.get();
    p.cell_clip = kCellClip, p.proj_clip = kProjClip;
    p.n_rows = n, p.num_timesteps = steps, p.projection_dim = P, p.cell_size = C;
  }

  int count_tokens() {
    for (int step = 0; step < steps; ++step) {
      const auto longer = std::count_if(sizes.lengths.begin(), sizes.lengths.end(), [=](int l) { return l > step; });
      first_of_step.push_back(first_of_step.back() + (sizes.as_graph ? n : static_cast<int>(longer)));
    }
    return first_of_step.back();
  }

  int xw_rows() const { return sizes.has_slots ? kWords : tokens; }

  // In two chunks of steps, as a long batch runs.
  void run(Way way) {
    const int middle = steps / 2;
    for (const auto& [first, last] : {std::pair{0, middle}, std::pair{middle, steps}}) {
      if (!sizes.has_slots) {
        p.first_token = first_of_step[static_cast<size_t>(first)];
        for (int d = 0; d < 2; ++d) p.xw[d] = xw[d].get() + p.first_token * 4 * C;
      }
      if (way == Way::kProducts) {
        for (int step = first; step < last; ++step) run_product_step(step);
        continue;
      }
      if (way == Way::kSteps) {
        launch_lstm_steps(storage_of<T>(), p, first_of_step.data(), first, last, nullptr);
        continue;
      }
      const DeviceProperties device{"test", 90, (C + 8 * sizes.groups - 1) / (8 * sizes.groups), size_t{227} << 10,
                                    true};
      const PersistentPlan plan = plan_persistent(device, P, C, sizeof(T), n);
      set_device(device);
      if (plan.groups != sizes.groups) throw std::logic_error("another plan than expected");
      prepare_persistent(storage_of<T>(), plan, device);
      launch_lstm_persistent(storage_of<T>(), p, plan, offsets.get(), first, last, nullptr);
      set_device({"emulated", 90, 4, size_t{64} << 10, true});
    }
  }

  // x times the transpose of w, as a library returns it: in float32 or rounded.
  template <class X>
  void multiply(const T* x, int x_stride, const T* w, int w_stride, int depth, int n_rows, int n_outputs,
                X* out) const {
    for (int r = 0; r < n_rows; ++r)
      for (int o = 0; o < n_outputs; ++o) {
        float sum = 0.0f;
        for (int k = 0; k < depth; ++k)
          sum += to_float(x[product(r, x_stride) + static_cast<size_t>(k)]) *
                 to_float(w[product(o, w_stride) + static_cast<size_t>(k)]);
        store(out + product(r, n_outputs) + o, sum);
      }
  }

  void run_product_step(int step) {
    using X = std::conditional_t<std::is_same_v<T, Half>, float, T>;
    const int first = first_of_step[static_cast<size_t>(step)];
    const int active = first_of_step[static_cast<size_t>(step) + 1] - first;
    Array<X> gates(product(2 * active, 4 * C)), outputs(product(2 * active, P));
    Array<T> own_m = zeros<T>(product(2 * active, C));
    for (size_t d = 0; d < 2; ++d)
      multiply(stored_h.get() + d * product(n, padded_to_tile(P)), padded_to_tile(P), state_weights[d].get(), padded(P),
               P, active, 4 * C, gates.get() + d * product(active, 4 * C));
    constexpr bool in_float = std::is_same_v<X, float>;
    launch_lstm_product_cells(storage_of<T>(), p, {gates.get(), own_m.get(), in_float, step, active, first}, nullptr);
    for (size_t d = 0; d < 2; ++d)
      multiply(own_m.get() + d * product(active, C), C, projection_weights[d].get(), padded(C), C, active, P,
               outputs.get() + d * product(active, P));
    launch_lstm_product_outputs(storage_of<T>(), p, {outputs.get(), nullptr, in_float, step, active, first}, nullptr);
  }

  std::string compare_all(Way way) const {
    std::vector<double> y(out.size, 0.0), final_h(h.size, 0.0), final_c(c.size, 0.0);
    std::vector<double> expected_above[2];
    for (int d = 0; d < 2; ++d) expected_above[d].assign(above[static_cast<size_t>(d)].size, std::nan(""));
    for (int d = 0; d < 2; ++d)
      for (int r = 0; r < n; ++r) run_row(static_cast<size_t>(d), r, &y, &final_h, &final_c, &expected_above[d]);
    const double bound = tolerance<T>() * (std::is_same_v<T, float> ? 4 : 1);
    std::string problem = compare("out", out, y, bound);
    if (problem.empty()) problem = compare("h", h, final_h, way == Way::kSteps ? 2e-5 : bound);
    if (problem.empty()) problem = compare("c", c, final_c, way == Way::kSteps ? 2e-5 : bound);
    for (size_t d = 0; d < 2 && problem.empty() && !sizes.is_last; ++d)
      problem = compare("above", above[d], expected_above[d], bound);
    return problem;
  }

  void run_row(size_t d, int r, std::vector<double>* y, std::vector<double>* final_h, std::vector<double>* final_c,
               std::vector<double>* next) const {
    const size_t row = d * static_cast<size_t>(n) + static_cast<size_t>(r);
    const int length = sizes.lengths[static_cast<size_t>(r)], h_size = padded(P), m_size = padded(C);
    std::vector<double> state(static_cast<size_t>(P)), cell(static_cast<size_t>(C)), m(static_cast<size_t>(C));
    for (size_t j = 0; j < state.size(); ++j) state[j] = first_h[row * static_cast<size_t>(h_size) + j];
    for (size_t j = 0; j < cell.size(); ++j) cell[j] = first_c[row * cell.size() + j];
    const auto sigmoid = [](double x) { return 1.0 / (1.0 + std::exp(-x)); };
    const auto clip = [](double x, double bound) { return std::max(-bound, std::min(bound, x)); };
    for (int step = 0; step < length; ++step) {
      const int time = d == 0 ? step : length - 1 - step;
      const size_t token = static_cast<size_t>(first_of_step[static_cast<size_t>(step)] + r);
      const size_t slot = sizes.has_slots ? static_cast<size_t>(slots[d].data[token]) : token;
      for (int j = 0; j < C; ++j) {
        double gates[4];
        for (int g = 0; g < 4; ++g) {
          gates[g] = xw[d][slot * product(4, C) + product(g, C) + static_cast<size_t>(j)];
          for (int k = 0; k < P; ++k)
            gates[g] +=
                state_weights[d][product(g * C + j, h_size) + static_cast<size_t>(k)] * state[static_cast<size_t>(k)];
        }
        double& c_j = cell[static_cast<size_t>(j)];
        c_j = clip(sigmoid(gates[0]) * std::tanh(gates[2]) + sigmoid(gates[1]) * c_j, kCellClip);
        m[static_cast<size_t>(j)] = sigmoid(gates[3]) * std::tanh(c_j);
      }
      for (int j = 0; j < P; ++j) {
        double sum = 0.0;
        for (int k = 0; k < C; ++k)
          sum += projection_weights[d][product(j, m_size) + static_cast<size_t>(k)] * m[static_cast<size_t>(k)];
        state[static_cast<size_t>(j)] = clip(sum, kProjClip);
        const size_t at = token * static_cast<size_t>(P) + static_cast<size_t>(j);
        const double result = state[static_cast<size_t>(j)] + (sizes.is_last ? 0.0 : below[d][at]);
        (*next)[at] = result;
        const int batch_row = n - 1 - r;
        (*y)[(product(batch_row, steps) + static_cast<size_t>(time)) * product(2, P) + d * static_cast<size_t>(P) +
             static_cast<size_t>(j)] = result;
      }
    }
    std::copy(state.begin(), state.end(), final_h->begin() + static_cast<ptrdiff_t>(row) * h_size);
    std::copy(cell.begin(), cell.end(), final_c->begin() + static_cast<ptrdiff_t>(row) * C);
  }
};

template <class T>
void add_cases(std::vector<Case>* all) {
  // Sizes odd and even; more rows than one tile, one row, and tiles of four; every warp has cells.
  std::vector<int32_t> many(70, 1);
  std::fill_n(many.begin(), 68, 2);
  const std::pair<const char*, Sizes> sizes[] = {
      {"ragged", {13, 19, {5, 5, 3, 3, 2, 2, 2, 1, 1, 1}}},
      {"one row", {16, 24, {4}, false, false, true}},
      {"words shared", {6, 17, {4, 3, 1}, true}},
      {"as a graph", {9, 18, {4, 3, 1, 1, 1}, false, true}},
      {"long rows", {270, 11, {3, 2}, false, true}},
      {"many rows", {20, 40, many, false, true, false, 2}},
      {"wide blocks", {33, 60, {3, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1}, false, true, false, 4}},
  };
  for (const auto& [name, s] : sizes) {
    // The storage decides how weights are read, and no more.
    if (!std::is_same_v<T, float> && !s.is_last && !s.as_graph) continue;
    for (const auto& [way, prefix] : kWays) {
      if (way == Way::kPersistent ? std::is_same_v<T, float> : s.groups > 1) continue;
      all->push_back({std::string(prefix) + name_of<T>() + " " + name, [s = s, way = way] {
                        generator().seed(7);
                        Layer<T> layer(s);
                        layer.run(way);
                        return layer.compare_all(way);
                      }});
    }
  }
}

}  // namespace
}  // namespace gpu
}  // namespace elmo_fast

std::vector<Case> lstm_cases() {
  using namespace elmo_fast::gpu;
  std::vector<Case> all;
  add_cases<float>(&all);
  add_cases<Half>(&all);
  add_cases<Bfloat16>(&all);
  return all;
}
