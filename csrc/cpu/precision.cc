#include "cpu/precision.h"

#include <stdexcept>

namespace elmo_fast {
namespace {

constexpr const char* kNames[kPrecisions] = {"float32", "bf16x3", "bf16x2", "bfloat16", "int8"};

}  // namespace

Precision parse_precision(const std::string& name) {
  for (int i = 0; i < kPrecisions; ++i)
    if (name == kNames[i]) return static_cast<Precision>(i);
  std::string known;
  for (const char* n : kNames) known += (known.empty() ? "'" : ", '") + std::string(n) + "'";
  throw std::invalid_argument("precision: expected one of " + known + ", got '" + name + "'");
}

const char* name_of(Precision precision) { return kNames[static_cast<int>(precision)]; }

}  // namespace elmo_fast
