#include "model/token_encoder.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>
#include <tuple>

#include "cpu/instruction_sets.h"
#include "runtime/floating_point.h"
#include "runtime/thread_pool.h"

namespace elmo_fast {
namespace {

std::vector<float> copy_of(const float* p, int64_t n) {
  return p ? std::vector<float>(p, p + n) : std::vector<float>();
}

}  // namespace

TokenEncoder::TokenEncoder(const TokenEncoderParams& params, Precision precision, int num_threads)
    : shape_(params),
      precision_(precision),
      in_use_(elmo_fast::precision_in_use(precision)),
      // Each token is computed only once, so int8 would save little, and its rounding would affect every layer above.
      format_(in_use_ == Precision::kInt8 ? Precision::kBfloat16 : in_use_),
      n_filters_(params.n_filters()),
      max_characters_(params.max_characters),
      projection_dim_(params.projection_dim),
      projected_(params.projection_weight != nullptr),
      char_embedding_(copy_of(params.char_embedding, params.n_char_ids * params.embedding_dim)) {
  convolutions_.resize(params.convolutions.size());
  highways_.resize(params.highways.size());
  const ColumnOrder pairs = interleaved_order(2, n_filters_), plain = plain_order(projection_dim_);
  // The last ones are the largest, so they are started first.
  std::vector<std::function<void()>> tasks;
  for (size_t i = highways_.size(); i-- > 0;)
    tasks.emplace_back([&, i] {
      const HighwayParams& h = params.highways[i];
      highways_[i] = {PackedMatrix(h.weight, n_filters_, pairs, format_), pack_vector(h.bias, pairs)};
    });
  for (size_t i = convolutions_.size(); i-- > 0;)
    tasks.emplace_back([&, i] { convolutions_[i] = make_convolution(params.convolutions[i]); });
  if (projected_)
    tasks.emplace_back([&] {
      projection_ = {PackedMatrix(params.projection_weight, n_filters_, plain, format_),
                     pack_vector(params.projection_bias, plain)};
    });
  std::atomic<size_t> next{0};
  run_job(num_threads, [&](const Team&) {
    for (size_t i = next++; i < tasks.size(); i = next++) tasks[i]();
  });
  shape_.char_embedding = shape_.projection_weight = shape_.projection_bias = nullptr;
  for (ConvolutionParams& c : shape_.convolutions) c.weight = c.bias = nullptr;
  for (HighwayParams& h : shape_.highways) h.weight = h.bias = nullptr;
}

// Summed in double and rounded once: the table is as exact as float32 allows, and the same on every machine.
TokenEncoder::Convolution TokenEncoder::make_convolution(const ConvolutionParams& p) const {
  const int64_t dim = shape_.embedding_dim;
  const int64_t padded = round_up(p.n_filters, kUnit);
  Convolution c{p.n_filters,
                p.filter_width,
                padded,
                AlignedBuffer(p.filter_width * shape_.n_char_ids * padded, true),
                AlignedBuffer(padded, true),
                copy_of(p.weight, p.n_filters * dim * p.filter_width)};
  std::memcpy(c.bias.data(), p.bias, static_cast<size_t>(p.n_filters) * sizeof(float));
  // Weights as [k][e][filter], so that the inner loop runs along filters.
  std::vector<double> w(static_cast<size_t>(p.filter_width * dim * p.n_filters));
  for (int64_t f = 0; f < p.n_filters; ++f)
    for (int64_t e = 0; e < dim; ++e)
      for (int64_t k = 0; k < p.filter_width; ++k)
        w[static_cast<size_t>((k * dim + e) * p.n_filters + f)] = p.weight[(f * dim + e) * p.filter_width + k];
  std::vector<double> sum(static_cast<size_t>(p.n_filters));
  for (int64_t k = 0; k < p.filter_width; ++k) {
    for (int64_t id = 0; id < shape_.n_char_ids; ++id) {
      std::fill(sum.begin(), sum.end(), 0.0);
      for (int64_t e = 0; e < dim; ++e) {
        const double x = char_embedding_[static_cast<size_t>(id * dim + e)];
        const double* row = &w[static_cast<size_t>((k * dim + e) * p.n_filters)];
        for (int64_t f = 0; f < p.n_filters; ++f) sum[static_cast<size_t>(f)] += x * row[f];
      }
      float* out = c.table.data() + (k * shape_.n_char_ids + id) * padded;
      for (int64_t f = 0; f < p.n_filters; ++f) out[f] = static_cast<float>(sum[static_cast<size_t>(f)]);
    }
  }
  return c;
}

DistinctTokens TokenEncoder::find_distinct(const int64_t* char_ids, int64_t n) const {
  check_char_ids(char_ids, n, max_characters_, shape_.n_char_ids);
  return elmo_fast::find_distinct(char_ids, n, max_characters_);
}

void TokenEncoder::encode(const DistinctTokens& tokens, float* out, int num_threads, float* saved) const {
  const KernelTable& table = kernels_for(format_);
  const ProductKernels& kernel = table[format_];
  const int64_t n = tokens.size();
  if (n == 0) return;
  const int64_t n_blocks = (n + kRowBlock - 1) / kRowBlock;
  const int64_t block =
      (n + n_blocks - 1) / n_blocks;  // of equal height: a short last block would only wait for the weights
  const int64_t ld = saved_stride();
  const int64_t ldp = projection_.matrix.units() * kUnit;
  const ptrdiff_t stride = packed_row_stride(kernel, n_filters_);
  const int64_t packed_floats = kernel.pack_rows ? block * stride / static_cast<int64_t>(sizeof(float)) : 0;
  Workspace workspace = workspaces_.lease(2 * Workspace::padded(block * ld) + Workspace::padded(block * ldp) +
                                          Workspace::padded(packed_floats));
  float* const scratch[2] = {workspace.take(block * ld), workspace.take(block * ld)};
  float* const projected = workspace.take(block * ldp);
  float* const packed = workspace.take(packed_floats);
  std::memset(scratch[0], 0, static_cast<size_t>(2 * Workspace::padded(block * ld)) * sizeof(float));
  const int64_t width = output_dim();

  run_job(num_threads, [&](Team& team) {
    for (int64_t first = 0; first < n; first += block) {
      const int64_t rows = n - first < block ? n - first : block;
      const auto [row_begin, row_end] = team.share(rows);
      const auto plane = [&](int64_t p) { return saved ? saved + (p * n + first) * ld : nullptr; };
      float* features = saved ? plane(0) : scratch[0];
      int64_t feature = 0;
      for (const Convolution& c : convolutions_) {
        const CharCnnArgs args{c.table.data(),
                               c.bias.data(),
                               shape_.n_char_ids,
                               c.n_filters,
                               c.padded_filters,
                               c.filter_width,
                               max_characters_,
                               shape_.activation == Activation::kTanh,
                               &tokens.char_ids[static_cast<size_t>(first * max_characters_)],
                               &tokens.tails[static_cast<size_t>(first)],
                               features + feature,
                               ld};
        table.char_cnn(args, row_begin, row_end);
        feature += c.n_filters;
      }
      team.barrier();
      // Packs the features as rows of a product, which takes one more barrier.
      const auto product = [&](const float* x, const PackedMatrix& w) {
        Gemm gemm{x, ld * static_cast<ptrdiff_t>(sizeof(float)), nullptr, rows, w.view()};
        if (kernel.pack_rows) {
          kernel.pack_rows({x, ld, n_filters_, packed, stride, nullptr}, row_begin, row_end);
          team.barrier();
          gemm.a = packed;
          gemm.lda = stride;
        }
        return gemm;
      };
      for (size_t i = 0; i < highways_.size(); ++i) {
        const Dense& h = highways_[i];
        const auto [begin, end] = team.share(h.matrix.units() / 2);
        const auto p = static_cast<int64_t>(3 * i);
        float* next = saved ? plane(p + 3) : scratch[(i + 1) % 2];
        kernel.highway({product(features, h.matrix), h.bias.data(), features, ld, next, ld, plane(p + 1), plane(p + 2)},
                       begin, end);
        features = next;
        team.barrier();
      }
      int64_t column_begin = 0, column_end = width, ld_result = ld;
      const float* result = features;
      if (projected_) {
        const auto [begin, end] = team.share(projection_.matrix.units());
        kernel.dense({product(features, projection_.matrix), projection_.bias.data(), projected, ldp}, begin, end);
        result = projected;
        ld_result = ldp;
        column_begin = begin * kUnit;  // each thread copies the columns it has computed
        column_end = end * kUnit < width ? end * kUnit : width;
      } else {
        std::tie(column_begin, column_end) = team.share(width);
      }
      for (int64_t r = 0; r < rows && column_begin < column_end; ++r)
        std::memcpy(out + (first + r) * width + column_begin, result + r * ld_result + column_begin,
                    static_cast<size_t>(column_end - column_begin) * sizeof(float));
      team.barrier();  // the next block overwrites the features
    }
  });
}

void TokenEncoder::table_gradient(const DistinctTokens& tokens, const float* gradient, int64_t convolution, float* out,
                                  int num_threads) const {
  constexpr int64_t kFilters = 64;  // filters at a time: their sums and maxima stay in L1
  const Convolution& c = convolutions_[static_cast<size_t>(convolution)];
  int64_t first_feature = 0;
  for (int64_t i = 0; i < convolution; ++i) first_feature += convolutions_[static_cast<size_t>(i)].n_filters;
  const int64_t ids = shape_.n_char_ids, positions = max_characters_ - c.filter_width + 1;
  std::memset(out, 0, static_cast<size_t>(c.filter_width * ids * c.n_filters) * sizeof(float));
  run_job(num_threads, [&](Team& team) {
    // Each thread has its own filters and walks all tokens in order, so the result does not depend on the thread count.
    const auto [begin, end] = team.share((c.n_filters + kFilters - 1) / kFilters);
    float best[kFilters], sum[kFilters];
    int64_t where[kFilters];
    for (int64_t f0 = begin * kFilters; f0 < std::min(end * kFilters, c.n_filters); f0 += kFilters) {
      const int64_t n = std::min(kFilters, c.n_filters - f0);
      for (int64_t token = 0; token < tokens.size(); ++token) {
        const int32_t* id = &tokens.char_ids[static_cast<size_t>(token * max_characters_)];
        const int64_t windows = std::min<int64_t>(tokens.tails[static_cast<size_t>(token)] + 1, positions);
        for (int64_t w = 0; w < windows; ++w) {
          for (int64_t f = 0; f < n; ++f) sum[f] = 0.0f;
          for (int64_t k = 0; k < c.filter_width; ++k) {
            const float* row = c.table.data() + (k * ids + id[w + k]) * c.padded_filters + f0;
            for (int64_t f = 0; f < n; ++f) sum[f] += row[f];
          }
          for (int64_t f = 0; f < n; ++f) {
            const bool larger = w == 0 || sum[f] > best[f] || (sum[f] != sum[f] && best[f] == best[f]);
            best[f] = larger ? sum[f] : best[f];
            where[f] = larger ? w : where[f];
          }
        }
        const float* from = gradient + token * n_filters_ + first_feature + f0;
        for (int64_t k = 0; k < c.filter_width; ++k)
          for (int64_t f = 0; f < n; ++f) out[(k * ids + id[where[f] + k]) * c.n_filters + f0 + f] += from[f];
      }
    }
  });
}

int64_t TokenEncoder::bytes() const {
  int64_t n = static_cast<int64_t>(char_embedding_.size() * sizeof(float));
  for (const Convolution& c : convolutions_)
    n += c.table.bytes() + c.bias.bytes() + static_cast<int64_t>(c.weight.size() * sizeof(float));
  for (const Dense& h : highways_) n += h.matrix.bytes() + h.bias.bytes();
  return n + projection_.matrix.bytes() + projection_.bias.bytes();
}

TokenEncoder::Weights TokenEncoder::weights() const {
  Weights w;
  w.char_embedding = char_embedding_;
  for (const Convolution& c : convolutions_) {
    w.convolution_weights.push_back(c.weight);
    w.convolution_biases.push_back(copy_of(c.bias.data(), c.n_filters));
  }
  const auto unpack = [this](const Dense& d, const ColumnOrder& order, int64_t rows, std::vector<float>* weight,
                             std::vector<float>* bias) {
    weight->resize(static_cast<size_t>(rows * n_filters_));
    bias->resize(static_cast<size_t>(rows));
    d.matrix.unpack(order, weight->data());
    unpack_vector(d.bias, order, bias->data());
  };
  for (const Dense& h : highways_) {
    w.highway_weights.emplace_back();
    w.highway_biases.emplace_back();
    unpack(h, interleaved_order(2, n_filters_), 2 * n_filters_, &w.highway_weights.back(), &w.highway_biases.back());
  }
  if (projected_)
    unpack(projection_, plain_order(projection_dim_), projection_dim_, &w.projection_weight, &w.projection_bias);
  return w;
}

}  // namespace elmo_fast
