// The probe's loop over a Dot, see int8_product-inl.h. Included by the probe_*.cc of x86-64.
#pragma once

#include "cpu/kernels.h"
#include "probe/probe_tables.h"

namespace elmo_fast {
namespace {

// A tile like those of the kernels, with its operands in the L1 cache: sums in kRows x kVectors registers.
template <class Dot>
struct DotTile {
  static constexpr int kRows = Dot::kMaxRows;
  static constexpr int kVectors = Dot::kMaxUnits * Dot::kVectors;
  static constexpr int64_t kOperations = 2 * 4 * kRows * Dot::kMaxUnits * kUnit;  // sums of four products

  static float run(int64_t passes) {
    alignas(64) int8_t weights[kVectors * 64];
    alignas(64) typename Dot::Row rows[kRows * 4];
    for (int i = 0; i < kVectors * 64; ++i) weights[i] = static_cast<int8_t>(i * 37 % 100 - 50);
    for (int i = 0; i < kRows * 4; ++i) rows[i] = static_cast<typename Dot::Row>(i + 3);
    typename Dot::Acc sums[kRows][kVectors];
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) sums[r][v] = Dot::zero();
    }
    for (int64_t pass = 0; pass < passes; ++pass) {
      __asm__ volatile(""
                       :
                       : "r"(weights), "r"(rows)
                       : "memory");  // makes the compiler read them again, as if they had changed
      typename Dot::Weights w[kVectors];
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) w[v] = Dot::load(weights + v / Dot::kVectors * 64, v % Dot::kVectors);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        const typename Dot::Values x = Dot::broadcast(rows + r * 4);
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) sums[r][v] = Dot::dot(sums[r][v], w[v], x);
      }
    }
    float result = 0.0f;
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) result += static_cast<float>(sums[r][v][0]);
    }
    return result;
  }
};

template <class Dot>
constexpr ProbeLoop dot_loop(const char* kind) {
  return {kind, DotTile<Dot>::kOperations, DotTile<Dot>::run};
}

}  // namespace
}  // namespace elmo_fast
