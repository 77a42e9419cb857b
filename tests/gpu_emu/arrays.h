// Arrays in a storage type, on the heap with no slack after them, and their comparison.
#pragma once

#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "cuda/template_choice.cuh"

namespace elmo_fast {
namespace gpu {

template <class T>
struct Array {
  size_t size;
  std::unique_ptr<T[]> data;

  explicit Array(size_t n) : size(n), data(new T[n]) { std::memset(data.get(), 0xff, n * sizeof(T)); }
  T* get() const { return data.get(); }
  double operator[](size_t i) const {
    if constexpr (std::is_integral_v<T>)
      return data[i];
    else
      return to_float(data[i]);
  }
};

inline std::mt19937& generator() {
  static std::mt19937 g(1);
  return g;
}

template <class T>
Array<T> random_array(size_t n, float scale) {
  Array<T> a(n);
  std::uniform_real_distribution<float> values(-scale, scale);
  for (size_t i = 0; i < n; ++i) store(&a.data[i], values(generator()));
  return a;
}

template <class T>
Array<T> zeros(size_t n) {
  Array<T> a(n);
  std::memset(static_cast<void*>(a.get()), 0, n * sizeof(T));
  return a;
}

// Rounding of one stored value, with room for a few.
template <class T>
constexpr double tolerance() {
  return std::is_same_v<T, float> ? 2e-6 : std::is_same_v<T, Half> ? 3e-3 : 2e-2;
}

template <class T>
std::string compare(const char* what, const Array<T>& got, const std::vector<double>& expected, double bound) {
  for (size_t i = 0; i < expected.size(); ++i) {
    const bool equal = std::isnan(expected[i])
                           ? std::isnan(got[i])
                           : std::fabs(got[i] - expected[i]) <= bound * (1.0 + std::fabs(expected[i]));
    if (equal) continue;
    char text[160];
    std::snprintf(text, sizeof text, "%s[%zu]: expected %.9g, got %.9g", what, i, expected[i], got[i]);
    return text;
  }
  return got.size == expected.size() ? "" : std::string(what) + ": another size";
}

template <class T>
constexpr Storage storage_of() {
  return std::is_same_v<T, float>  ? Storage::kFloat32
         : std::is_same_v<T, Half> ? Storage::kFloat16
                                   : Storage::kBfloat16;
}

template <class T>
const char* name_of() {
  return std::is_same_v<T, float> ? "float32" : std::is_same_v<T, Half> ? "float16" : "bfloat16";
}

}  // namespace gpu
}  // namespace elmo_fast
