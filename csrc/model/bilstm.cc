#include "model/bilstm.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

#include "cpu/instruction_sets.h"
#include "cpu/number_formats.h"

namespace elmo_fast {
namespace {

// If the recurrent weights of both directions are smaller than this, the directions run side by side on half of the
// threads each, so that fewer threads meet at every step. Above it one direction at a time has the shared cache to
// itself.
constexpr int64_t kSideBySideBytes = int64_t{24} << 20;

}  // namespace

// Buffers of one direction. Row strides are padded so that rows do not alias in a cache set.
struct BiLstm::Scratch {
  // Rows in the format that the precision's products read.
  struct Rows {
    char* data = nullptr;
    ptrdiff_t stride;  // bytes
    float* scales = nullptr;

    Rows(const ProductKernels& kernel, int64_t depth) : stride(packed_row_stride(kernel, depth)) {}
    int64_t floats(int64_t n) const { return n * stride / static_cast<int64_t>(sizeof(float)); }
    char* row(int64_t r) const { return data + r * stride; }
  };

  const InputChunks shared_input, input;  // of layer 0, of the layers above
  int64_t lanes, panels, ldh, ldy, xw_panel = 0;
  Rows x, m, packed_h;  // packed_h: each thread's own copies of h, one after the other
  float *xw = nullptr, *c = nullptr, *h = nullptr, *y[2] = {};
  std::vector<const float*> xw_rows;  // (tokens): a token's row of the chunk's input product
  std::vector<float*> out;            // (tokens): a token's destination in the caller's array

  Scratch(const BiLstm& p, const ProductKernels& kernel, const BatchPlan& plan, const BiLstmCall& call, int direction)
      : shared_input(plan, call, direction),
        input(plan),
        lanes(plan.lanes()),
        panels(p.layer(0, 0).state.units() / kGateUnits),
        ldh(round_up(p.projection_dim(), kUnit) + kRowPad),
        ldy(ldh),
        x(kernel, std::max(p.input_size(), p.projection_dim())),
        m(kernel, round_up(p.cell_size(), kUnit)),
        packed_h(kernel, p.projection_dim()),
        xw_rows(static_cast<size_t>(plan.num_tokens())),
        out(static_cast<size_t>(plan.num_tokens())) {}

  float* cells(int64_t panel, int64_t lane) const { return c + (panel * lanes + lane) * kUnit; }

  // Assigns the buffers if a workspace is given; returns the number of floats needed. A `twin` is the scratch of the
  // other direction when the two do not run at the same time: everything but the layer outputs is shared with it.
  int64_t carve(const BatchPlan& plan, int64_t layers, int64_t copies_of_h, int64_t input_rows, Workspace* workspace,
                const Scratch* twin) {
    int64_t total = 0;
    const auto place = [&](float** p, int64_t n) {
      total += Workspace::padded(n);
      if (workspace) *p = workspace->take(n);
    };
    const auto place_rows = [&](Rows* rows, int64_t n) {
      place(&rows->scales, n);
      float* data = nullptr;
      place(&data, rows->floats(n));
      rows->data = reinterpret_cast<char*>(data);
    };
    if (twin) {
      x = twin->x, xw = twin->xw, xw_panel = twin->xw_panel, c = twin->c, m = twin->m, h = twin->h,
      packed_h = twin->packed_h;
    } else {
      place_rows(&x, input_rows);
      xw_panel = input_rows * kPanel + kRowPad;
      place(&xw, panels * xw_panel);
      place(&c, panels * lanes * kUnit);
      place_rows(&m, lanes);
      place(&h, lanes * ldh);
      place_rows(&packed_h, lanes * copies_of_h);
    }
    for (int i = 0; i < 2; ++i) place(&y[i], layers > i + 1 ? plan.num_tokens() * ldy : 0);
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
      if (w.format() != layer(0, 0).format())
        throw std::invalid_argument("layers: expected one precision, got " +
                                    std::string(name_of(layer(0, 0).format())) + " and " + name_of(w.format()));
    }
}

bool BiLstm::directions_fit_side_by_side() const {
  int64_t bytes = 0;
  for (const Layers& d : layers_) bytes += d[0]->state.bytes() + d[0]->projection.bytes();
  return bytes <= kSideBySideBytes;
}

void BiLstm::run(const BiLstmCall& call, int num_threads) const {
  // Saved activations are stored in backward-pass order, which needs a lane for each row.
  const std::vector<BatchPlan> plans = plan_batch(call.lengths, call.batch_size, !call.saved);
  pass_state_of_empty_rows(call);
  if (plans.empty()) clear_padding(Team(0, 1, nullptr, 0), call);
  for (const BatchPlan& plan : plans) run_group(call, plan, num_threads);
}

void BiLstm::pass_state_of_empty_rows(const BiLstmCall& call) const {
  const auto pass = [&](const float* initial, float* final_state, int64_t width) {
    if (!final_state || initial == final_state) return;
    const size_t bytes = static_cast<size_t>(width) * sizeof(float);
    for (int64_t i = 0; i < num_layers() * call.batch_size; ++i) {
      if (call.lengths[i % call.batch_size] > 0) continue;
      if (initial)
        std::memcpy(final_state + i * width, initial + i * width, bytes);
      else
        std::memset(final_state + i * width, 0, bytes);
    }
  };
  pass(call.initial_h, call.h, 2 * projection_dim());
  pass(call.initial_c, call.c, 2 * cell_size());
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

void BiLstm::run_group(const BiLstmCall& call, const BatchPlan& plan, int num_threads) const {
  const ProductKernels& kernel = kernels_for(format())[format()];  // once per call: set_isa may be called meanwhile
  const int64_t layers = num_layers();
  const bool side_by_side = directions_fit_side_by_side();
  Scratch scratch[2] = {Scratch(*this, kernel, plan, call, 0), Scratch(*this, kernel, plan, call, 1)};
  const Scratch* const twin = side_by_side ? nullptr : &scratch[0];
  const int64_t copies_of_h = kernel.pack_rows ? std::min(num_threads, kMostThreads) : 0;
  int64_t input_rows = 0;
  for (const Scratch& s : scratch) input_rows = std::max({input_rows, s.shared_input.largest(), s.input.largest()});
  const auto carve = [&](Workspace* workspace) {
    return scratch[0].carve(plan, layers, copies_of_h, input_rows, workspace, nullptr) +
           scratch[1].carve(plan, layers, copies_of_h, input_rows, workspace, twin);
  };
  Workspace workspace = workspaces_.lease(carve(nullptr));
  carve(&workspace);
  TeamSplit split;
  run_job(num_threads, [&](Team& team) {
    if (plan.tokens_before == 0) clear_padding(team, call);
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

void BiLstm::run_direction(const ProductKernels& kernel, Team& team, const BiLstmCall& call, const BatchPlan& plan,
                           Scratch& s, int64_t layer, int direction) const {
  const LstmLayer& w = this->layer(layer, direction);
  const int64_t depth = w.input_size();
  const auto [panel_begin, panel_end] = team.share(w.state.units() / kGateUnits);
  const float* below = layer == 0 ? nullptr : s.y[(layer - 1) % 2];

  const auto [lane_begin, lane_end] = team.share(plan.lanes());
  for (int64_t lane = lane_begin; lane < lane_end; ++lane) {
    // The padding of the weights is multiplied by these, so they must be finite.
    std::memset(s.m.row(lane), 0, static_cast<size_t>(s.m.stride));
    load_state(call, s, layer, direction, lane, plan.row_at(lane));
  }
  auto turn = plan.turns.begin();
  const InputChunks& input = layer == 0 ? s.shared_input : s.input;
  for (const InputChunks::Chunk& chunk : input.chunks) {
    const int64_t packed = plan.offset_at(chunk.first);
    const auto [token_begin, token_end] = team.share(plan.offset_at(chunk.last) - packed);
    for (int64_t place = packed + token_begin; place < packed + token_end; ++place) {
      const int64_t b = plan.row_at(place), t = plan.time_at(place, direction);
      const auto at = static_cast<size_t>(place);
      s.out[at] =
          call.out + (((layer * call.batch_size + b) * call.num_timesteps + t) * 2 + direction) * w.projection_dim();
      s.xw_rows[at] = s.xw + (input.slots.empty() ? place - packed : input.slots[at]) * kPanel;
    }
    Gemm gemm{s.x.data, s.x.stride, s.x.scales, chunk.n_rows, w.input.view()};
    const auto [row_begin, row_end] = team.share(chunk.n_rows);
    if (layer == 0) {
      for (int64_t i = row_begin; i < row_end; ++i) {
        const float* x = call.x + input.sources[static_cast<size_t>(chunk.first_row + i)] * depth;
        if (kernel.pack_rows)
          kernel.pack_rows({x, 0, depth, s.x.row(i), 0, s.x.scales + i}, 0, 1);
        else
          std::memcpy(s.x.row(i), x, static_cast<size_t>(depth) * sizeof(float));
      }
    } else if (kernel.pack_rows) {
      kernel.pack_rows({below + packed * s.ldy, s.ldy, depth, s.x.data, s.x.stride, s.x.scales}, row_begin, row_end);
    } else {
      gemm.a = below + packed * s.ldy;
      gemm.lda = s.ldy * static_cast<ptrdiff_t>(sizeof(float));
    }
    team.barrier();
    // Each thread multiplies the inputs of its own panels only, so no barrier is needed before the steps read them.
    kernel.dense({gemm, w.bias.data(), s.xw, kPanel, s.xw_panel}, panel_begin * kGateUnits, panel_end * kGateUnits);
    for (int64_t step = chunk.first; step < chunk.last; ++step) {
      run_step(kernel, team, call, plan, s, layer, direction, step);
      auto last = turn;
      while (last != plan.turns.end() && last->step == step) ++last;
      if (last == turn) continue;
      const auto [turn_begin, turn_end] = team.share(last - turn);
      for (auto t = turn + turn_begin; t != turn + turn_end; ++t) {
        store_state(call, s, layer, direction, t->lane, t->ended);
        load_state(call, s, layer, direction, t->lane, t->next);
      }
      turn = last;
      team.barrier();
    }
  }
  for (int64_t lane = lane_begin; lane < lane_end; ++lane)
    store_state(call, s, layer, direction, lane, plan.last_row[static_cast<size_t>(lane)]);
  team.barrier();
}

void BiLstm::run_step(const ProductKernels& kernel, Team& team, const BiLstmCall& call, const BatchPlan& plan,
                      Scratch& s, int64_t layer, int direction, int64_t step) const {
  const LstmLayer& w = this->layer(layer, direction);
  const auto [panel_begin, panel_end] = team.share(w.state.units() / kGateUnits);
  const auto [unit_begin, unit_end] = team.share(w.projection.units());
  const int64_t n = plan.active_at(step), at = plan.offset_at(step);
  const float* below = layer == 0 ? nullptr : s.y[(layer - 1) % 2];
  const int64_t ldsaved = saved_size(w.cell_size(), w.projection_dim());
  float* saved = nullptr;
  if (call.saved)
    saved = call.saved +
            ((layer * 2 + direction) * call.batch_size * call.num_timesteps + plan.tokens_before + at) * ldsaved;
  float* const above = layer + 1 < num_layers() ? s.y[layer % 2] : nullptr;

  Gemm h{s.h, s.ldh * static_cast<ptrdiff_t>(sizeof(float)), nullptr, n, w.state.view()};
  if (kernel.pack_rows) {
    // Every thread packs all of h: an int8 row needs its largest value first, and this is cheaper than another barrier.
    const int64_t first = team.rank() * plan.lanes();
    h.a = s.packed_h.row(first);
    h.lda = s.packed_h.stride;
    h.a_scales = s.packed_h.scales + first;
    kernel.pack_rows(
        {s.h, s.ldh, w.projection_dim(), s.packed_h.row(first), s.packed_h.stride, s.packed_h.scales + first}, 0, n);
  }
  kernel.lstm_gates({h, s.xw_rows.data() + at, s.xw_panel, s.c, plan.lanes(), s.m.data, s.m.stride, s.m.scales,
                     options_.cell_clip, step % 2 == 1, saved, ldsaved},
                    panel_begin, panel_end);
  team.barrier();
  kernel.lstm_project({{s.m.data, s.m.stride, s.m.scales, n, w.projection.view()},
                       s.h,
                       s.ldh,
                       below && options_.use_skip_connections ? below + at * s.ldy : nullptr,
                       s.ldy,
                       above ? above + at * s.ldy : nullptr,
                       s.ldy,
                       s.out.data() + at,
                       w.projection_dim(),
                       options_.proj_clip,
                       saved ? saved + w.state.units() / kGateUnits * kSavedPanel : nullptr,
                       ldsaved},
                      unit_begin, unit_end);
  team.barrier();
}

void BiLstm::load_state(const BiLstmCall& call, const Scratch& s, int64_t layer, int direction, int64_t lane,
                        int64_t row) const {
  const int64_t at = (layer * call.batch_size + row) * 2 + direction;
  std::memset(s.h + lane * s.ldh, 0, static_cast<size_t>(s.ldh) * sizeof(float));
  s.m.scales[lane] = 1.0f / kInt8Max;  // |m| <= 1
  if (call.initial_h)
    std::memcpy(s.h + lane * s.ldh, call.initial_h + at * projection_dim(),
                static_cast<size_t>(projection_dim()) * sizeof(float));
  for (int64_t panel = 0; panel < s.panels; ++panel) {
    float* c = s.cells(panel, lane);
    std::memset(c, 0, kUnit * sizeof(float));
    if (call.initial_c)
      std::memcpy(c, call.initial_c + at * cell_size() + panel * kUnit, cells_of(panel) * sizeof(float));
  }
}

void BiLstm::store_state(const BiLstmCall& call, const Scratch& s, int64_t layer, int direction, int64_t lane,
                         int64_t row) const {
  if (!call.h) return;
  const int64_t at = (layer * call.batch_size + row) * 2 + direction;
  std::memcpy(call.h + at * projection_dim(), s.h + lane * s.ldh,
              static_cast<size_t>(projection_dim()) * sizeof(float));
  for (int64_t panel = 0; panel < s.panels; ++panel)
    std::memcpy(call.c + at * cell_size() + panel * kUnit, s.cells(panel, lane), cells_of(panel) * sizeof(float));
}

int64_t BiLstm::bytes() const {
  int64_t n = 0;
  for (const Layers& direction : layers_)
    for (const auto& l : direction) n += l->bytes();
  return n;
}

}  // namespace elmo_fast
