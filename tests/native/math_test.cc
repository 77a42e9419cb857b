// Sigmoid and tanh against double precision over the floats, and bit for bit between tables.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "test_tables.h"

using namespace elmo_fast;

namespace {

// Sanitizers look at memory accesses, of which a hundredth of the floats shows all, and take 25 times as long.
#ifdef ELMO_FAST_SANITIZED
constexpr uint64_t kStep = 99991;
#else
constexpr uint64_t kStep = 997;
#endif

// Every kStep-th float of both signs (a prime, so that all bits vary), and the special ones.
std::vector<float> many_floats() {
  std::vector<float> x;
  for (uint64_t bits = 0; bits <= 0x7f800000u; bits += kStep) {
    const auto b = static_cast<uint32_t>(bits);
    float f;
    std::memcpy(&f, &b, sizeof f);
    x.push_back(f);
    x.push_back(-f);
  }
  const float inf = std::numeric_limits<float>::infinity();
  for (float f : {0.0f, -0.0f, inf, -inf, 0.625f, -0.625f, 88.0f, -88.0f, 87.3f, -87.3f, 10.0f, 3e38f, -3e38f, 1e-40f})
    x.push_back(f);
  return x;
}

double largest_relative_error(void (*function)(const float*, float*, int64_t), double (*exact)(double)) {
  const std::vector<float> x = many_floats();
  std::vector<float> y(x.size());
  function(x.data(), y.data(), static_cast<int64_t>(x.size()));
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double want = exact(x[i]);
    if (std::fabs(want) < std::numeric_limits<float>::min()) {
      CHECK(std::fabs(y[i]) < 1e-37);  // no longer normal: only its size is promised
      continue;
    }
    worst = std::max(worst, std::fabs(y[i] - want) / std::fabs(want));
  }
  return worst;
}

}  // namespace

TEST_CASE("sigmoid and tanh stay within 2e-7 relative") {
  const KernelTable& table = kernels();
  CHECK(largest_relative_error(table.sigmoid, [](double x) { return 1 / (1 + std::exp(-x)); }) <= 2e-7);
  CHECK(largest_relative_error(table.tanh, [](double x) { return std::tanh(x); }) <= 2e-7);
}

TEST_CASE("sigmoid and tanh have the same bits in every table, and keep NaN") {
  const std::vector<float> x = many_floats();
  const auto n = static_cast<int64_t>(x.size());
  std::vector<float> want(x.size()), got(x.size());
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const KernelTable* table : all_tables()) {
    CAPTURE(std::string(table->name));
    for (auto function : {&KernelTable::sigmoid, &KernelTable::tanh}) {
      (kernels_of("generic").*function)(x.data(), want.data(), n);
      (table->*function)(x.data(), got.data(), n);
      CHECK(std::memcmp(want.data(), got.data(), x.size() * sizeof(float)) == 0);
      float y = 0;
      (table->*function)(&nan, &y, 1);
      CHECK(std::isnan(y));
    }
  }
}
