// The kernel table of one instruction set, filled from the templates. Included once by each isa_*.cc.
#pragma once

#include "cpu/char_cnn-inl.h"
#include "cpu/dense-inl.h"
#include "cpu/float_product-inl.h"
#include "cpu/int8_product-inl.h"
#include "cpu/lstm-inl.h"

namespace elmo_fast {
namespace {

// Applies an element-wise function to n values; the remainder goes through a padded copy.
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

template <class V, class Product>
constexpr ProductKernels product_kernels() {
  ProductKernels k{Product::row_bytes,       nullptr, dense<V, Product>, highway<V, Product>, lstm_gates<V, Product>,
                   lstm_project<V, Product>, nullptr};
  if constexpr (Product::kPacksRows) k.pack_rows = Product::pack_rows;
  return k;
}

template <class V>
constexpr ProductKernels float32_kernels() {
  using Product = FloatProduct<V, Float32Weights>;
  ProductKernels k = product_kernels<V, Product>();
  k.lstm_backward = lstm_backward<V, Product>;
  return k;
}

// Dot: the instruction set's int8 sums.
template <class V, class Dot>
constexpr KernelTable make_table(const char* name) {
  return {name,
          {float32_kernels<V>(),
           {},
           {},
           product_kernels<V, FloatProduct<V, Bfloat16Weights>>(),
           product_kernels<V, Int8Product<V, Dot>>()},
          char_cnn<V>,
          map_values<V, sigmoid<V>>,
          map_values<V, tanh<V>>};
}

}  // namespace
}  // namespace elmo_fast
