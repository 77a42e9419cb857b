// The kernel table of one instruction set, filled from the templates. Included once by each isa_*.cc.
#pragma once

#include "char_cnn-inl.h"
#include "dense-inl.h"
#include "lstm-inl.h"

namespace elmo_fast {
namespace {

// Applies an element-wise function to n values; the last ones go through a padded copy.
template <class V, typename V::F (*kFunction)(typename V::F)>
void map_values(const float* x, float* y, int64_t n) {
  int64_t i = 0;
  for (; i + V::kWidth <= n; i += V::kWidth) V::store(y + i, kFunction(V::load(x + i)));
  if (i < n) {
    float last[V::kWidth] = {};
    __builtin_memcpy(last, x + i, static_cast<size_t>(n - i) * sizeof(float));
    V::store(last, kFunction(V::load(last)));
    __builtin_memcpy(y + i, last, static_cast<size_t>(n - i) * sizeof(float));
  }
}

template <class V>
constexpr KernelTable make_table(const char* name) {
  return {name,
          V::kWidth,
          dense<V>,
          highway<V>,
          lstm_gates<V>,
          lstm_project<V>,
          char_cnn<V>,
          map_values<V, sigmoid<V>>,
          map_values<V, tanh<V>>};
}

}  // namespace
}  // namespace elmo_fast
