// The machine probe: every rate that this machine has is plausible, and wrong arguments are errors.
#include "probe/probe.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <stdexcept>

namespace elmo_fast {
namespace {

constexpr double kShort = 1e-3;

TEST_CASE("every kind can be measured") {
  const std::vector<std::string> kinds = probe_kinds();
  REQUIRE(std::count(kinds.begin(), kinds.end(), "read") == 1);
  REQUIRE(std::count(kinds.begin(), kinds.end(), "fma_generic") == 1);
  for (const std::string& kind : kinds) {
    CAPTURE(kind);
    for (int num_threads : {1, 3}) CHECK(probe(kind, num_threads, kShort, 3 * 65536) > 1e6);
  }
}

TEST_CASE("wrong arguments") {
  CHECK_THROWS_AS(probe("fma", 1, kShort, 0), std::invalid_argument);
  CHECK_THROWS_AS(probe("fma_generic", 0, kShort, 0), std::invalid_argument);
  CHECK_THROWS_AS(probe("fma_generic", 1, 0.0, 0), std::invalid_argument);
  CHECK_THROWS_AS(probe("read", 2, kShort, 65536), std::invalid_argument);
}

}  // namespace
}  // namespace elmo_fast
