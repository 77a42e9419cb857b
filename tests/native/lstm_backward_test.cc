// The backward pass through time: against finite differences in double precision; same bits for every batch, thread
// count and instruction set. The gradients that products compute from it are tested from Python.
#include <doctest/doctest.h>

#include <cmath>

#include "cpu/instruction_sets.h"
#include "model/lstm_backward.h"
#include "random_model.h"
#include "test_tables.h"

using namespace elmo_fast;

namespace {

constexpr double kTolerance = 2e-4;  // gradients of size about 1 to 10, by differences of 1e-5

struct Case {
  RandomBiLstm model;
  std::vector<int64_t> lengths;
  int64_t num_timesteps;
  Values x, h, c, dout, dh_last, dc_last;
  std::vector<int32_t> index;

  Case(Random& random, std::vector<int64_t> row_lengths, int64_t steps, int64_t projection_dim, int64_t cell_size,
       float cell_clip, float proj_clip)
      : model(random, 1, projection_dim, projection_dim, cell_size, cell_clip, proj_clip, false),
        lengths(std::move(row_lengths)),
        num_timesteps(steps) {
    const int64_t b = rows();
    x = random.floats(b * steps * projection_dim, 1.0);
    h = random.floats(b * 2 * projection_dim, 0.3);
    c = random.floats(b * 2 * cell_size, 0.3);
    dout = random.floats(b * steps * 2 * projection_dim, 1.0);
    dh_last = random.floats(b * 2 * projection_dim, 1.0);
    dc_last = random.floats(b * 2 * cell_size, 1.0);
    for (int64_t i = 0; i < b * steps; ++i) index.push_back(static_cast<int32_t>(i));
  }
  int64_t rows() const { return static_cast<int64_t>(lengths.size()); }
};

struct Result {
  std::vector<int64_t> order;
  Values dgates, m, dh, h_before, dh_first, dc_first;
  bool operator==(const Result& o) const {
    return order == o.order && same_bits(dgates, o.dgates) && same_bits(m, o.m) && same_bits(dh, o.dh) &&
           same_bits(h_before, o.h_before) && same_bits(dh_first, o.dh_first) && same_bits(dc_first, o.dc_first);
  }
};

// Takes rows of `width` floats out of rows of `stride`; the floats in between are unused.
Values cut(const Values& padded, int64_t stride, int64_t width) {
  Values r;
  for (size_t i = 0; i < padded.size(); i += static_cast<size_t>(stride))
    r.insert(r.end(), padded.begin() + static_cast<ptrdiff_t>(i), padded.begin() + static_cast<ptrdiff_t>(i) + width);
  return r;
}

Result run(const Case& test, int direction, int threads) {
  const BiLstmParams& p = test.model.params;
  const int64_t b = test.rows(), t = test.num_timesteps, projected = p.projection_dim, cells = p.cell_size;
  const BiLstm lstm = make_bilstm(p);
  Values h = test.h, c = test.c, out(test.dout.size());
  Values saved(static_cast<size_t>(2 * b * t * saved_size(cells, projected)), NAN);
  BiLstmCall forward{test.x.data(), test.index.data(), test.lengths.data(), b, t, h.data(), c.data(), out.data(),
                     saved.data(),  test.h.data(),     test.c.data()};
  lstm.run(forward, threads);

  const LstmParams& w = direction == 0 ? p.forward[0] : p.backward[0];
  const LstmBackward backward(w.state_weight, w.projection, projected, cells, {p.cell_clip, p.proj_clip, false});
  Result r;
  r.order = token_order(test.lengths.data(), b, t, direction);
  const size_t n = r.order.size();
  const auto floats = [&](int64_t stride) { return Values(n * static_cast<size_t>(stride), NAN); };
  Values dgates = floats(backward.gates_stride()), m = floats(backward.cells_stride()),
         dh = floats(backward.outputs_stride()), h_before = floats(backward.outputs_stride());
  r.dh_first = Values(test.h.size(), 0.0f), r.dc_first = Values(test.c.size(), 0.0f);
  LstmBackwardCall call{};
  call.lengths = test.lengths.data(), call.batch_size = b, call.num_timesteps = t, call.direction = direction;
  call.saved = saved.data() + direction * b * t * saved_size(cells, projected);
  call.h_first = test.h.data(), call.c_first = test.c.data(), call.dout = test.dout.data();
  call.dh_last = test.dh_last.data(), call.dc_last = test.dc_last.data();
  call.dgates = dgates.data(), call.m = m.data(), call.dh = dh.data(), call.h_before = h_before.data();
  call.dh_first = r.dh_first.data(), call.dc_first = r.dc_first.data();
  backward.run(call, threads);
  r.dgates = cut(dgates, backward.gates_stride(), 4 * backward.padded_cells());
  r.m = cut(m, backward.cells_stride(), backward.padded_cells());
  r.dh = cut(dh, backward.outputs_stride(), backward.padded_outputs());
  r.h_before = cut(h_before, backward.outputs_stride(), backward.padded_outputs());
  return r;
}

// The function whose gradient the pass computes, of one row, in double.
double loss(const Case& test, int direction, int64_t row, std::vector<double> h, std::vector<double> c) {
  const BiLstmParams& p = test.model.params;
  const int64_t n = test.lengths[static_cast<size_t>(row)], projected = p.projection_dim;
  std::vector<double> x;
  for (int64_t s = 0; s < n; ++s)
    for (int64_t k = 0; k < p.input_size; ++k)
      x.push_back(test.x[static_cast<size_t>(
          (row * test.num_timesteps + (direction == 0 ? s : n - 1 - s)) * p.input_size + k)]);
  const LstmParams& w = direction == 0 ? p.forward[0] : p.backward[0];
  const std::vector<double> y = lstm64(w, p, p.input_size, x, n, h, c);
  double sum = 0.0;
  for (int64_t s = 0; s < n; ++s) {
    const int64_t at = (row * test.num_timesteps + (direction == 0 ? s : n - 1 - s)) * 2 + direction;
    for (int64_t j = 0; j < projected; ++j)
      sum += y[static_cast<size_t>(s * projected + j)] * test.dout[static_cast<size_t>(at * projected + j)];
  }
  const int64_t state = row * 2 + direction;
  for (int64_t j = 0; j < projected; ++j)
    sum += h[static_cast<size_t>(j)] * test.dh_last[static_cast<size_t>(state * projected + j)];
  for (int64_t j = 0; j < p.cell_size; ++j)
    sum += c[static_cast<size_t>(j)] * test.dc_last[static_cast<size_t>(state * p.cell_size + j)];
  return sum;
}

const std::vector<int64_t> kLengths = {3, 0, 7, 1, 7};

}  // namespace

TEST_CASE("gradients of the initial state are those of finite differences in double precision") {
  Random random(21);
  for (const auto& [cell_clip, proj_clip] : {std::pair{0.0f, 0.0f}, std::pair{0.6f, 0.5f}}) {
    const Case test(random, kLengths, 8, 5, 19, cell_clip, proj_clip);
    const int64_t projected = test.model.params.projection_dim, cells = test.model.params.cell_size;
    for (int direction = 0; direction < 2; ++direction) {
      const Result result = run(test, direction, 2);
      for (int64_t row = 0; row < test.rows(); ++row) {
        const int64_t at = row * 2 + direction;
        const std::vector<double> h(test.h.begin() + at * projected, test.h.begin() + (at + 1) * projected);
        const std::vector<double> c(test.c.begin() + at * cells, test.c.begin() + (at + 1) * cells);
        const auto check = [&](bool of_h, int64_t j, float got) {
          constexpr double kStep = 1e-5;
          double values[2];
          for (int side = 0; side < 2; ++side) {
            std::vector<double> moved_h = h, moved_c = c;
            (of_h ? moved_h : moved_c)[static_cast<size_t>(j)] += side == 0 ? kStep : -kStep;
            values[side] = loss(test, direction, row, moved_h, moved_c);
          }
          CHECK(std::fabs((values[0] - values[1]) / (2 * kStep) - got) < kTolerance);
        };
        for (int64_t j = 0; j < projected; ++j)
          check(true, j, result.dh_first[static_cast<size_t>(at * projected + j)]);
        for (int64_t j = 0; j < cells; ++j) check(false, j, result.dc_first[static_cast<size_t>(at * cells + j)]);
      }
    }
  }
}

TEST_CASE("same bits on every instruction set and thread count") {
  Random random(22);
  for (const auto& [projected, cells] : {std::pair<int64_t, int64_t>{5, 19}, {48, 80}, {1, 1}}) {
    const Case test(random, kLengths, 8, projected, cells, 0.6f, 0.5f);
    for (int direction = 0; direction < 2; ++direction) {
      use_kernels(kernels_of("generic"));
      const Result expected = run(test, direction, 1);
      for (const KernelTable* table : all_tables()) {
        CAPTURE(table->name);
        use_kernels(*table);
        for (int threads : {1, 2, 3, 7}) CHECK(run(test, direction, threads) == expected);
      }
    }
  }
  set_isa(isas_available().back());
}

TEST_CASE("a row's gradients do not depend on the others") {
  Random random(23);
  const Case all(random, kLengths, 8, 16, 32, 0.6f, 0.5f);
  Case one = all;  // its first row alone, with less padding
  one.lengths = {all.lengths[0]};
  one.num_timesteps = all.lengths[0];
  const Result expected = run(one, 1, 1), result = run(all, 1, 2);
  for (size_t i = 0; i < expected.order.size(); ++i) {
    size_t k = 0;
    while (result.order[k] != expected.order[i]) ++k;
    const size_t width = expected.dgates.size() / expected.order.size();
    CHECK(std::memcmp(&expected.dgates[i * width], &result.dgates[k * width], width * sizeof(float)) == 0);
  }
}
