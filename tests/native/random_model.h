// Random parameters of any size, and plain double-precision loops that define the expected results.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "model/bilstm.h"
#include "model/model_params.h"

namespace elmo_fast {

using Values = std::vector<float>;

inline bool same_bits(const Values& a, const Values& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  std::vector<float> floats(int64_t n, double scale) {
    std::normal_distribution<double> normal(0.0, scale);
    std::vector<float> v(static_cast<size_t>(n));
    for (float& x : v) x = static_cast<float>(normal(engine_));
    return v;
  }
  int64_t integer(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(engine_); }

 private:
  std::mt19937 engine_;
};

inline double sigmoid64(double x) { return 1.0 / (1.0 + std::exp(-x)); }
inline double clip64(double x, double bound) { return bound > 0 ? std::min(bound, std::max(-bound, x)) : x; }

// y = W x, W (rows, depth) row-major.
template <class X>
std::vector<double> multiply64(const float* w, int64_t rows, int64_t depth, const X* x) {
  std::vector<double> y(static_cast<size_t>(rows));
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t k = 0; k < depth; ++k) y[static_cast<size_t>(r)] += static_cast<double>(w[r * depth + k]) * x[k];
  return y;
}

// Plain weights and sizes of a biLSTM; it does not own the storage.
struct BiLstmParams {
  std::vector<LstmParams> forward, backward;  // one per layer
  int64_t input_size, projection_dim, cell_size;
  float cell_clip, proj_clip;
  bool use_skip_connections;
};

inline BiLstm make_bilstm(const BiLstmParams& p, Precision precision = Precision::kFloat32) {
  BiLstm::Layers layers[2];
  for (int d = 0; d < 2; ++d)
    for (const LstmParams& l : d == 0 ? p.forward : p.backward)
      layers[d].push_back(std::make_shared<LstmLayer>(l, layers[d].empty() ? p.input_size : p.projection_dim,
                                                      p.projection_dim, p.cell_size, precision));
  return BiLstm(layers[0], layers[1], {p.cell_clip, p.proj_clip, p.use_skip_connections});
}

// A biLSTM that owns its weights.
struct RandomBiLstm {
  BiLstmParams params{};
  std::vector<std::vector<float>> storage;

  RandomBiLstm(Random& random, int64_t layers, int64_t input_size, int64_t projection_dim, int64_t cell_size,
               float cell_clip, float proj_clip, bool skip) {
    params.input_size = input_size;
    params.projection_dim = projection_dim;
    params.cell_size = cell_size;
    params.cell_clip = cell_clip;
    params.proj_clip = proj_clip;
    params.use_skip_connections = skip;
    const auto keep = [&](int64_t n, double scale) {
      storage.push_back(random.floats(n, scale));
      return storage.back().data();  // moving the inner vectors keeps their data where it is
    };
    for (int64_t l = 0; l < layers; ++l) {
      const int64_t in = l == 0 ? input_size : projection_dim;
      for (std::vector<LstmParams>* direction : {&params.forward, &params.backward})
        direction->push_back({keep(4 * cell_size * in, 1.5 / std::sqrt(in)),
                              keep(4 * cell_size * projection_dim, 1.5 / std::sqrt(projection_dim)),
                              keep(4 * cell_size, 0.5), keep(projection_dim * cell_size, 2.0 / std::sqrt(cell_size))});
    }
  }
};

// One row through one layer and direction; x (steps, input_size) in the direction's own order. h and c: state in, out.
inline std::vector<double> lstm64(const LstmParams& w, const BiLstmParams& p, int64_t input_size,
                                  const std::vector<double>& x, int64_t steps, std::vector<double>& h,
                                  std::vector<double>& c) {
  std::vector<double> y;
  const int64_t n = p.cell_size;
  for (int64_t t = 0; t < steps; ++t) {
    std::vector<double> z = multiply64(w.input_weight, 4 * n, input_size, &x[static_cast<size_t>(t * input_size)]);
    const std::vector<double> zh = multiply64(w.state_weight, 4 * n, p.projection_dim, h.data());
    std::vector<double> m(static_cast<size_t>(n));
    for (int64_t j = 0; j < n; ++j) {
      const auto gate = [&](int64_t k) {
        return z[static_cast<size_t>(k * n + j)] + zh[static_cast<size_t>(k * n + j)] + w.bias[k * n + j];
      };
      double& cell = c[static_cast<size_t>(j)];
      cell = clip64(sigmoid64(gate(0)) * std::tanh(gate(2)) + sigmoid64(gate(1)) * cell, p.cell_clip);
      m[static_cast<size_t>(j)] = sigmoid64(gate(3)) * std::tanh(cell);
    }
    h = multiply64(w.projection, p.projection_dim, n, m.data());
    for (double& v : h) v = clip64(v, p.proj_clip);
    y.insert(y.end(), h.begin(), h.end());
  }
  return y;
}

}  // namespace elmo_fast
