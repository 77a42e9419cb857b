#include "model/lstm_backward.h"

#include <algorithm>
#include <cstring>

#include "cpu/instruction_sets.h"
#include "model/bilstm.h"

namespace elmo_fast {
namespace {

float clipped(float x, float bound) { return bound > 0.0f ? std::min(bound, std::max(-bound, x)) : x; }

}  // namespace

LstmBackward::LstmBackward(const float* state_weight, const float* projection, int64_t projection_dim,
                           int64_t cell_size, const BiLstmOptions& options)
    : projection_dim_(projection_dim), cell_size_(cell_size), options_(options) {
  std::vector<int64_t> gates;  // depth of the state's transpose: each gate's cells, rounded up
  for (int64_t g = 0; g < 4; ++g)
    for (int64_t j = 0; j < padded_cells(); ++j) gates.push_back(j < cell_size ? g * cell_size + j : -1);
  std::vector<int64_t> outputs;
  for (int64_t j = 0; j < projection_dim; ++j) outputs.push_back(j);
  state_ = PackedMatrix::transposed(state_weight, projection_dim, gates);
  projection_ = PackedMatrix::transposed(projection, cell_size, outputs);
}

void LstmBackward::run(const LstmBackwardCall& call, int num_threads) const {
  if (call.dh_first)  // rows of length 0 included: their final state is their initial state
    for (int64_t b = 0; b < call.batch_size; ++b) {
      const auto start = [&](float* first, const float* last, int64_t size) {
        const int64_t at = (b * 2 + call.direction) * size;
        if (last)
          std::memcpy(first + at, last + at, static_cast<size_t>(size) * sizeof(float));
        else
          std::memset(first + at, 0, static_cast<size_t>(size) * sizeof(float));
      };
      start(call.dh_first, call.dh_last, projection_dim_);
      start(call.dc_first, call.dc_last, cell_size_);
    }
  for (const BatchPlan& plan : plan_batch(call.lengths, call.batch_size, false)) run_plan(call, plan, num_threads);
}

void LstmBackward::run_plan(const LstmBackwardCall& call, const BatchPlan& plan, int num_threads) const {
  const ProductKernels& kernel = kernels()[Precision::kFloat32];
  const int64_t h_size = Workspace::padded(plan.lanes() * outputs_stride());
  const int64_t c_size = Workspace::padded(plan.lanes() * cells_stride());
  Workspace workspace = workspaces_.lease(h_size + 2 * c_size);
  Scratch s{};
  s.dh = workspace.take(h_size), s.dc = workspace.take(c_size), s.c_first = workspace.take(c_size);
  const int64_t ldsaved = saved_size(cell_size_, projection_dim_);
  constexpr auto kFloat = static_cast<ptrdiff_t>(sizeof(float));

  run_job(num_threads, [&](Team& team) {
    const auto [unit_begin, unit_end] = team.share(state_.units());
    const auto [panel_begin, panel_end] = team.share(projection_.units());
    load_state(team, call, plan, s);
    team.barrier();
    for (int64_t step = plan.steps() - 1; step >= 0; --step) {
      const int64_t n = plan.active_at(step), at = plan.tokens_before + plan.offset_at(step);
      const float* saved = call.saved + at * ldsaved;
      // These are the columns of dh that this thread has computed itself, so no barrier is needed before it.
      hidden(call, plan, s, step, unit_begin * kUnit, unit_end * kUnit);
      team.barrier();
      const bool first = step == 0;
      const float* before = first ? s.c_first : saved - plan.active_at(step - 1) * ldsaved + kSavedCell;
      LstmBackwardArgs args{};
      args.gemm = {call.dh + at * outputs_stride(), outputs_stride() * kFloat, nullptr, n, projection_.view()};
      args.saved = saved, args.ldsaved = ldsaved;
      args.c_before = before, args.ldc_before = first ? cells_stride() : ldsaved;
      args.c_before_panel = first ? kUnit : kSavedPanel, args.clip_before = !first;
      args.dc = s.dc, args.lddc = cells_stride();
      args.dgates = call.dgates + at * gates_stride(), args.lddgates = gates_stride();
      args.padded_cells = padded_cells();
      args.m = call.m + at * cells_stride(), args.ldm = cells_stride();
      args.cell_clip = options_.cell_clip;
      kernel.lstm_backward(args, panel_begin, panel_end);
      team.barrier();
      const Gemm gates{args.dgates, gates_stride() * kFloat, nullptr, n, state_.view()};
      kernel.dense({gates, nullptr, s.dh, outputs_stride()}, unit_begin, unit_end);
    }
    team.barrier();
    store_state(team, call, plan, s);
  });
}

void LstmBackward::hidden(const LstmBackwardCall& call, const BatchPlan& plan, const Scratch& s, int64_t step,
                          int64_t begin, int64_t end) const {
  const int64_t ldsaved = saved_size(cell_size_, projection_dim_);
  const int64_t at = plan.tokens_before + plan.offset_at(step);
  const float bound = options_.proj_clip;
  const int64_t wanted = std::min(end, projection_dim_);
  for (int64_t r = 0; r < plan.active_at(step); ++r) {
    const int64_t place = plan.offset_at(step) + r;
    const int64_t b = plan.row_at(place), t = plan.time_at(place, call.direction);
    const float* saved = call.saved + (at + r + 1) * ldsaved - padded_outputs();
    const float* dout = call.dout + ((b * call.num_timesteps + t) * 2 + call.direction) * projection_dim_;
    const float* carried = s.dh + r * outputs_stride();
    float* dh = call.dh + (at + r) * outputs_stride();
    float* h_before = call.h_before + (at + r) * outputs_stride();
    for (int64_t c = begin; c < wanted; ++c) {
      const float gradient = carried[c] + dout[c];
      dh[c] = bound > 0.0f && std::abs(saved[c]) > bound ? 0.0f : gradient;
    }
    if (step > 0) {
      const float* before = saved - plan.active_at(step - 1) * ldsaved;
      for (int64_t c = begin; c < wanted; ++c) h_before[c] = clipped(before[c], bound);
    } else {
      const float* before = call.h_first ? call.h_first + (b * 2 + call.direction) * projection_dim_ : nullptr;
      for (int64_t c = begin; c < wanted; ++c) h_before[c] = before ? before[c] : 0.0f;
    }
    for (int64_t c = wanted; c < end; ++c) dh[c] = h_before[c] = 0.0f;
  }
}

void LstmBackward::load_state(const Team& team, const LstmBackwardCall& call, const BatchPlan& plan,
                              const Scratch& s) const {
  const auto [row_begin, row_end] = team.share(plan.lanes());
  for (int64_t r = row_begin; r < row_end; ++r) {
    const int64_t at = plan.row_at(r) * 2 + call.direction;
    const auto load = [&](float* to, int64_t stride, const float* from, int64_t size) {
      std::memset(to + r * stride, 0, static_cast<size_t>(stride) * sizeof(float));
      if (from) std::memcpy(to + r * stride, from + at * size, static_cast<size_t>(size) * sizeof(float));
    };
    load(s.dh, outputs_stride(), call.dh_last, projection_dim_);
    load(s.dc, cells_stride(), call.dc_last, cell_size_);
    load(s.c_first, cells_stride(), call.c_first, cell_size_);
  }
}

void LstmBackward::store_state(const Team& team, const LstmBackwardCall& call, const BatchPlan& plan,
                               const Scratch& s) const {
  if (!call.dh_first) return;
  const auto [row_begin, row_end] = team.share(plan.lanes());
  for (int64_t r = row_begin; r < row_end; ++r) {
    const int64_t at = plan.row_at(r) * 2 + call.direction;
    std::memcpy(call.dh_first + at * projection_dim_, s.dh + r * outputs_stride(),
                static_cast<size_t>(projection_dim_) * sizeof(float));
    std::memcpy(call.dc_first + at * cell_size_, s.dc + r * cells_stride(),
                static_cast<size_t>(cell_size_) * sizeof(float));
  }
}

std::vector<int64_t> token_order(const int64_t* lengths, int64_t batch_size, int64_t num_timesteps, int direction) {
  std::vector<int64_t> tokens;
  for (const BatchPlan& plan : plan_batch(lengths, batch_size, false))
    for (int64_t at = 0; at < plan.num_tokens(); ++at)
      tokens.push_back(plan.row_at(at) * num_timesteps + plan.time_at(at, direction));
  return tokens;
}

}  // namespace elmo_fast
