#include <algorithm>
#include <limits>

#include "arrays.h"
#include "cases.h"
#include "cuda/launch.h"

namespace elmo_fast {
namespace gpu {
namespace {

// Filters of two widths, more than one block of them; words short, as long as there is room, of one character, with an
// unknown id in the last.
template <class T>
std::string check_char_cnn(bool is_tanh) {
  constexpr int kLength = 9, kIds = 7, kWords = 5;
  const std::vector<int> widths{1, 3, kLength}, filters{30, 250, 5};
  const std::vector<int32_t> ids{1, 2, 3,    4, 5, 6, 1, 2, 3,  // no padding
                                 4, 5, 0,    0, 0, 0, 0, 0, 0,  // much
                                 2, 2, 2,    2, 2, 2, 2, 2, 2,  // one character
                                 1, 2, 3,    4, 5, 6, 0, 0, 0,  //
                                 1, 2, kIds, 0, 0, 0, 0, 0, 0};
  const std::unique_ptr<int32_t[]> exact(new int32_t[ids.size()]);
  std::copy(ids.begin(), ids.end(), exact.get());
  CharCnnParams p{};
  size_t n_table = 0;
  int n_filters = 0;
  for (size_t i = 0; i < widths.size(); ++i) {
    p.widths[i] = widths[i], p.first_filters[i] = n_filters, p.table_offsets[i] = static_cast<int64_t>(n_table);
    n_table += static_cast<size_t>(widths[i] * kIds * filters[i]);
    n_filters += filters[i];
  }
  p.first_filters[widths.size()] = n_filters;
  const Array<T> tables = random_array<T>(n_table, 0.7f);
  const Array<float> bias = random_array<float>(static_cast<size_t>(n_filters), 0.3f);
  Array<T> out(static_cast<size_t>(kWords * n_filters));
  p.char_ids = exact.get(), p.tables = tables.get(), p.bias = bias.get(), p.out = out.get();
  p.n = kWords, p.max_characters = kLength, p.n_ids = kIds, p.n_filters = n_filters, p.is_tanh = is_tanh;
  p.n_convolutions = static_cast<int>(widths.size());
  launch_char_cnn(storage_of<T>(), p, nullptr);

  std::vector<double> expected;
  for (int w = 0; w < kWords; ++w)
    for (size_t i = 0; i < widths.size(); ++i)
      for (int f = 0; f < filters[i]; ++f) {
        double most = -std::numeric_limits<double>::infinity();
        for (int start = 0; start + widths[i] <= kLength && w < kWords - 1; ++start) {
          double sum = 0.0;
          for (int k = 0; k < widths[i]; ++k)
            sum += tables[static_cast<size_t>(p.table_offsets[i]) +
                          static_cast<size_t>(
                              (k * kIds + ids[static_cast<size_t>(w * kLength + start + k)]) * filters[i] + f)];
          most = std::max(most, sum);
        }
        const double x = most + bias[static_cast<size_t>(p.first_filters[i] + f)];
        const double y = is_tanh ? std::tanh(x) : std::max(x, 0.0);
        expected.push_back(w == kWords - 1 ? std::nan("") : y);
      }
  return compare("out", out, expected, tolerance<T>());
}

template <class T>
std::string check_highway() {
  constexpr size_t kRows = 5, kSize = 67;  // more than one block, and not a whole number of them
  const Array<T> gates = random_array<T>(kRows * 2 * kSize, 2.0f);
  Array<T> x = random_array<T>(kRows * kSize, 1.0f);
  std::vector<double> expected;
  for (size_t r = 0; r < kRows; ++r)
    for (size_t i = 0; i < kSize; ++i) {
      const double transform = gates[r * 2 * kSize + i], g = 1.0 / (1.0 + std::exp(-gates[r * 2 * kSize + kSize + i]));
      expected.push_back(g * x[r * kSize + i] + (1.0 - g) * std::max(transform, 0.0));
    }
  launch_highway(storage_of<T>(), {gates.get(), x.get(), x.get(), kRows, kSize}, nullptr);
  return compare("out", x, expected, tolerance<T>());
}

template <class T>
std::string check_scalar_mix() {
  constexpr int kLayers = 3, kBatch = 2, kSteps = 3, kDim = 300;
  const size_t n = static_cast<size_t>(kBatch * (kSteps + 2) * kDim);
  const Array<T> layers[kLayers] = {random_array<T>(n, 1.0f), random_array<T>(n, 1.0f), random_array<T>(n, 1.0f)};
  const Array<float> weights = random_array<float>(kLayers, 1.0f);
  const std::unique_ptr<uint8_t[]> mask(new uint8_t[kBatch * kSteps]{1, 1, 0, 1, 1, 1});
  Array<T> out(static_cast<size_t>(kBatch * kSteps * kDim));
  ScalarMixParams p{};
  for (int k = 0; k < kLayers; ++k) p.layers[k] = layers[k].get();
  p.weights = weights.get(), p.mask = mask.get(), p.out = out.get();
  p.n_layers = kLayers, p.batch_size = kBatch, p.num_timesteps = kSteps, p.dim = kDim;
  launch_scalar_mix(storage_of<T>(), p, nullptr);
  std::vector<double> expected;
  for (size_t b = 0; b < kBatch; ++b)
    for (size_t t = 0; t < kSteps; ++t)
      for (size_t i = 0; i < kDim; ++i) {
        double sum = 0.0;
        for (size_t k = 0; k < kLayers; ++k) sum += weights[k] * layers[k][(b * (kSteps + 2) + t + 1) * kDim + i];
        expected.push_back(mask[b * kSteps + t] ? sum : 0.0);
      }
  return compare("out", out, expected, tolerance<T>());
}

template <class T>
void add_cases(std::vector<Case>* all) {
  const std::string type = std::string(" ") + name_of<T>();
  all->push_back({"char_cnn relu" + type, [] { return check_char_cnn<T>(false); }});
  all->push_back({"char_cnn tanh" + type, [] { return check_char_cnn<T>(true); }});
  all->push_back({"highway" + type, [] { return check_highway<T>(); }});
  all->push_back({"scalar_mix" + type, [] { return check_scalar_mix<T>(); }});
}

}  // namespace
}  // namespace gpu
}  // namespace elmo_fast

std::vector<Case> encoder_cases() {
  using namespace elmo_fast::gpu;
  std::vector<Case> all;
  add_cases<float>(&all);
  add_cases<Half>(&all);
  add_cases<Bfloat16>(&all);
  return all;
}
