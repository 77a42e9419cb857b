// The probe's loops over a Vec. Included once by each probe_*.cc.
#pragma once

#include "probe/probe_tables.h"

namespace elmo_fast {
namespace {

// Enough independent sums for two units with a latency of 5 and, with 16 registers, no spilling.
constexpr int kProbeSums = 12;
constexpr int kReadSums = 8;

template <class V>
float sum_of(typename V::F x) {
  float lanes[V::kWidth];
  V::store(lanes, x);
  float sum = 0.0f;
  for (float lane : lanes) sum += lane;
  return sum;
}

// Each pass adds to every sum once.
template <class V>
float probe_fma(int64_t passes) {
  typename V::F sums[kProbeSums];
  for (int i = 0; i < kProbeSums; ++i) sums[i] = V::set1(static_cast<float>(i));
  const typename V::F a = V::set1(0.7f), b = V::set1(1e-3f);
  for (int64_t pass = 0; pass < passes; ++pass) {
#pragma GCC unroll 12
    for (int i = 0; i < kProbeSums; ++i) sums[i] = V::fma(a, b, sums[i]);
  }
  for (int i = 1; i < kProbeSums; ++i) sums[0] = V::add(sums[0], sums[i]);
  return sum_of<V>(sums[0]);
}

template <class V>
float probe_read(const float* p, int64_t n) {
  constexpr int64_t kStep = kReadSums * V::kWidth;
  constexpr int64_t kAhead = 512;  // floats: two kilobytes
  typename V::F sums[kReadSums];
  for (auto& sum : sums) sum = V::zero();
  for (int64_t i = 0; i < n; i += kStep) {
    for (int64_t line = 0; line < kStep; line += 16) V::prefetch(p + i + kAhead + line);
#pragma GCC unroll 8
    for (int k = 0; k < kReadSums; ++k) sums[k] = V::add(sums[k], V::load(p + i + k * V::kWidth));
  }
  for (int k = 1; k < kReadSums; ++k) sums[0] = V::add(sums[0], sums[k]);
  return sum_of<V>(sums[0]);
}

template <class V>
constexpr ProbeLoop fma_loop(const char* kind) {
  return {kind, 2 * kProbeSums * V::kWidth, probe_fma<V>};
}

}  // namespace
}  // namespace elmo_fast
