#include "bilstm.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

#include "dispatch.h"

namespace elmo_fast {
namespace {

// Rows of the input product computed at a time. Many rows read the weights once for many steps; the product itself
// (64 KB a row in the original model) should still be near when the steps read it.
constexpr int64_t kInputRows = 256;

// Rows that walk together. More would save nothing, and memory for a step's input product grows with them.
constexpr size_t kGroupRows = 512;

// Recurrent weights of both directions below which they run side by side, half of the threads each: no thread then
// waits for another at every step. Above it one direction at a time has the shared cache to itself.
constexpr int64_t kSideBySideBytes = int64_t{24} << 20;

}  // namespace

// How the ragged batch is walked: rows by falling length, so that the rows active at step s are the first active[s].
// Packed order is step-major; both directions share it (the backward one counts steps from each row's end).
struct BiLstm::Plan {
  std::vector<int64_t> rows;     // (n): row of the batch, longest first, none of length 0
  std::vector<int64_t> lengths;  // (n)
  std::vector<int64_t> active;   // (steps)
  std::vector<int64_t> offset;   // (steps + 1): first packed row of a step

  Plan(const BiLstmCall& call, std::vector<int64_t> sorted_rows) : rows(std::move(sorted_rows)) {
    for (int64_t b : rows) lengths.push_back(call.lengths[b]);
    offset.push_back(0);
    int64_t n = this->n();
    for (int64_t s = 0; n > 0; ++s) {
      while (n > 0 && lengths[static_cast<size_t>(n - 1)] <= s) --n;
      if (n == 0) break;
      active.push_back(n);
      offset.push_back(offset.back() + n);
    }
  }
  int64_t n() const { return static_cast<int64_t>(rows.size()); }
  int64_t steps() const { return static_cast<int64_t>(active.size()); }
  int64_t tokens() const { return offset.back(); }

  // The last step (exclusive) of the input chunk that starts at step s.
  int64_t chunk_end(int64_t s) const {
    int64_t e = s + 1;
    while (e < steps() && offset[static_cast<size_t>(e + 1)] - offset[static_cast<size_t>(s)] <= kInputRows) ++e;
    return e;
  }
  int64_t largest_chunk() const {
    int64_t rows = 0;
    for (int64_t s = 0, e; s < steps(); s = e) {
      e = chunk_end(s);
      rows = std::max(rows, offset[static_cast<size_t>(e)] - offset[static_cast<size_t>(s)]);
    }
    return rows;
  }
};

// Buffers of one direction. Row strides are padded so that rows do not alias in a cache set.
struct BiLstm::Scratch {
  int64_t ldx, ldxw, ldc, ldm, ldh, ldy;
  float *x = nullptr, *xw = nullptr, *c = nullptr, *m = nullptr, *h = nullptr, *y[2] = {};
  std::vector<float*> out;  // (tokens): a packed row's destination in the caller's array

  explicit Scratch(const BiLstm& p) {
    const int64_t cells = round_up(p.cell_size(), kUnit), projected = round_up(p.projection_dim(), kUnit);
    ldx = round_up(p.input_size(), kUnit) + kRowPad;
    ldxw = 4 * cells + kRowPad;
    ldc = cells + kRowPad;
    ldm = cells + kRowPad;
    ldh = ldy = projected + kRowPad;
  }
  // Assigns the buffers if there is a workspace; returns the floats needed. With a `twin` that runs at another time,
  // all but the layer outputs are shared with it.
  int64_t carve(const Plan& plan, int64_t layers, Workspace* workspace, const Scratch* twin) {
    int64_t total = 0;
    const auto place = [&](float** p, int64_t n) {
      total += Workspace::padded(n);
      if (workspace) *p = workspace->take(n);
    };
    if (twin) {
      x = twin->x, xw = twin->xw, c = twin->c, m = twin->m, h = twin->h;
    } else {
      place(&x, plan.largest_chunk() * ldx);
      place(&xw, plan.largest_chunk() * ldxw);
      place(&c, plan.n() * ldc);
      place(&m, plan.n() * ldm);
      place(&h, plan.n() * ldh);
    }
    for (int i = 0; i < 2; ++i) place(&y[i], layers > i + 1 ? plan.tokens() * ldy : 0);
    if (workspace) out.resize(static_cast<size_t>(plan.tokens()));
    return total;
  }
};

BiLstm::BiLstm(Layers forward, Layers backward, const BiLstmOptions& options)
    : layers_{std::move(forward), std::move(backward)}, options_(options) {
  const auto check = [](int64_t got, int64_t expected, size_t layer, int direction, const char* what) {
    if (got != expected)
      throw std::invalid_argument("layers[" + std::to_string(layer) + "][" + std::to_string(direction) +
                                  "]: expected " + what + " " + std::to_string(expected) + ", got " +
                                  std::to_string(got));
  };
  if (layers_[0].empty() || layers_[0].size() != layers_[1].size())
    throw std::invalid_argument("layers: expected at least one, and as many backward as forward");
  for (int d = 0; d < 2; ++d)
    for (size_t l = 0; l < layers_[d].size(); ++l) {
      const LstmLayer& w = *layers_[d][l];
      check(w.input_size(), l == 0 ? input_size() : projection_dim(), l, d, "input size");
      check(w.projection_dim(), projection_dim(), l, d, "projection_dim");
      check(w.cell_size(), cell_size(), l, d, "cell_size");
    }
}

bool BiLstm::directions_fit_side_by_side() const {
  int64_t bytes = 0;
  for (const Layers& d : layers_) bytes += d[0]->state.bytes() + d[0]->projection.bytes();
  return bytes <= kSideBySideBytes;
}

void BiLstm::run(const BiLstmCall& call, int num_threads) const {
  std::vector<int64_t> rows;
  for (int64_t b = 0; b < call.batch_size; ++b)
    if (call.lengths[b] > 0) rows.push_back(b);
  std::stable_sort(rows.begin(), rows.end(), [&](int64_t a, int64_t b) { return call.lengths[a] > call.lengths[b]; });
  run_job(num_threads, [&](const Team& team) { clear_padding(team, call); });
  for (size_t i = 0; i < rows.size(); i += kGroupRows) {
    const auto begin = rows.begin() + static_cast<ptrdiff_t>(i);
    run_group(call, Plan(call, {begin, begin + static_cast<ptrdiff_t>(std::min(kGroupRows, rows.size() - i))}),
              num_threads);
  }
}

void BiLstm::clear_padding(const Team& team, const BiLstmCall& call) const {
  const int64_t width = 2 * projection_dim();
  const auto [row_begin, row_end] = team.share(num_layers() * call.batch_size);
  for (int64_t i = row_begin; i < row_end; ++i) {
    const int64_t length = call.lengths[i % call.batch_size];
    std::memset(call.out + (i * call.num_timesteps + length) * width, 0,
                static_cast<size_t>((call.num_timesteps - length) * width) * sizeof(float));
  }
}

void BiLstm::run_group(const BiLstmCall& call, const Plan& plan, int num_threads) const {
  const KernelTable& kernel = kernels();  // once a call: set_isa may be called meanwhile
  const int64_t layers = num_layers();
  const bool side_by_side = directions_fit_side_by_side();
  Scratch scratch[2] = {Scratch(*this), Scratch(*this)};
  const Scratch* const twin = side_by_side ? nullptr : &scratch[0];
  Workspace workspace = workspaces_.lease(scratch[0].carve(plan, layers, nullptr, nullptr) +
                                          scratch[1].carve(plan, layers, nullptr, twin));
  scratch[0].carve(plan, layers, &workspace, nullptr);
  scratch[1].carve(plan, layers, &workspace, twin);
  TeamSplit split;
  run_job(num_threads, [&](Team& team) {
    if (side_by_side && team.size() % 2 == 0) {
      Team half = team.half(split);
      const int direction = team.rank() < team.size() / 2 ? 0 : 1;
      for (int64_t l = 0; l < layers; ++l) run_direction(kernel, half, call, plan, scratch[direction], l, direction);
    } else {
      for (int64_t l = 0; l < layers; ++l)
        for (int d = 0; d < 2; ++d) run_direction(kernel, team, call, plan, scratch[d], l, d);
    }
  });
}

void BiLstm::run_direction(const KernelTable& kernel, Team& team, const BiLstmCall& call, const Plan& plan, Scratch& s,
                           int64_t layer, int direction) const {
  const LstmLayer& w = this->layer(layer, direction);
  const int64_t projection_dim = w.projection_dim(), depth = w.input_size();
  const auto [panel_begin, panel_end] = team.share(w.state.units() / kGateUnits);
  const auto [unit_begin, unit_end] = team.share(w.projection.units());
  const float* below = layer == 0 ? nullptr : s.y[(layer - 1) % 2];
  float* const above = layer + 1 < num_layers() ? s.y[layer % 2] : nullptr;
  float** const out = s.out.data();

  load_state(team, call, plan, s, layer, direction);
  for (int64_t first = 0; first < plan.steps();) {
    const int64_t last = plan.chunk_end(first);
    const int64_t packed = plan.offset[static_cast<size_t>(first)];
    for (int64_t step = first; step < last; ++step) {
      const int64_t n = plan.active[static_cast<size_t>(step)];
      const auto [row_begin, row_end] = team.share(n);
      for (int64_t r = row_begin; r < row_end; ++r) {
        const int64_t b = plan.rows[static_cast<size_t>(r)];
        const int64_t t = direction == 0 ? step : plan.lengths[static_cast<size_t>(r)] - 1 - step;
        const int64_t at = plan.offset[static_cast<size_t>(step)] + r;
        out[at] =
            call.out + (((layer * call.batch_size + b) * call.num_timesteps + t) * 2 + direction) * projection_dim;
        if (layer == 0)
          std::memcpy(s.x + (at - packed) * s.ldx, call.x + call.index[b * call.num_timesteps + t] * depth,
                      static_cast<size_t>(depth) * sizeof(float));
      }
    }
    team.barrier();
    // A thread multiplies the inputs of its own panels only, so no barrier is needed before the steps read them.
    const int64_t rows = plan.offset[static_cast<size_t>(last)] - packed;
    const Gemm input = layer == 0 ? Gemm{s.x, s.ldx, rows, w.input.data(), depth}
                                  : Gemm{below + packed * s.ldy, s.ldy, rows, w.input.data(), depth};
    kernel.dense({input, w.bias.data(), s.xw, s.ldxw}, panel_begin * kGateUnits, panel_end * kGateUnits);
    for (int64_t step = first; step < last; ++step) {
      const int64_t n = plan.active[static_cast<size_t>(step)], at = plan.offset[static_cast<size_t>(step)];
      kernel.lstm_gates({{s.h, s.ldh, n, w.state.data(), projection_dim},
                         s.xw + (at - packed) * s.ldxw,
                         s.ldxw,
                         s.c,
                         s.ldc,
                         s.m,
                         s.ldm,
                         options_.cell_clip,
                         step % 2 == 1},
                        panel_begin, panel_end);
      team.barrier();
      kernel.lstm_project({{s.m, s.ldm, n, w.projection.data(), w.cell_size()},
                           s.h,
                           s.ldh,
                           below && options_.use_skip_connections ? below + at * s.ldy : nullptr,
                           s.ldy,
                           above ? above + at * s.ldy : nullptr,
                           s.ldy,
                           out + at,
                           projection_dim,
                           options_.proj_clip},
                          unit_begin, unit_end);
      team.barrier();
    }
    first = last;
  }
  store_state(team, call, plan, s, layer, direction);
  team.barrier();
}

void BiLstm::load_state(const Team& team, const BiLstmCall& call, const Plan& plan, const Scratch& s, int64_t layer,
                        int direction) const {
  const int64_t cells = cell_size(), projected = projection_dim();
  const auto [row_begin, row_end] = team.share(plan.n());
  for (int64_t r = row_begin; r < row_end; ++r) {
    float* h = s.h + r * s.ldh;
    float* c = s.c + r * s.ldc;
    std::memset(h, 0, static_cast<size_t>(s.ldh) * sizeof(float));
    std::memset(c, 0, static_cast<size_t>(s.ldc) * sizeof(float));
    if (!call.h) continue;
    const int64_t at = (layer * call.batch_size + plan.rows[static_cast<size_t>(r)]) * 2 + direction;
    std::memcpy(h, call.h + at * projected, static_cast<size_t>(projected) * sizeof(float));
    std::memcpy(c, call.c + at * cells, static_cast<size_t>(cells) * sizeof(float));
  }
}

void BiLstm::store_state(const Team& team, const BiLstmCall& call, const Plan& plan, const Scratch& s, int64_t layer,
                         int direction) const {
  if (!call.h) return;
  const int64_t cells = cell_size(), projected = projection_dim();
  const auto [row_begin, row_end] = team.share(plan.n());
  for (int64_t r = row_begin; r < row_end; ++r) {
    const int64_t at = (layer * call.batch_size + plan.rows[static_cast<size_t>(r)]) * 2 + direction;
    std::memcpy(call.h + at * projected, s.h + r * s.ldh, static_cast<size_t>(projected) * sizeof(float));
    std::memcpy(call.c + at * cells, s.c + r * s.ldc, static_cast<size_t>(cells) * sizeof(float));
  }
}

int64_t BiLstm::bytes() const {
  int64_t n = 0;
  for (const Layers& direction : layers_)
    for (const auto& l : direction) n += l->bytes();
  return n;
}

}  // namespace elmo_fast
