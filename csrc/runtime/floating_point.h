// The floating-point environment that every result of this library is defined in.
#pragma once

#include <cfenv>

namespace elmo_fast {

// Rounds to nearest and keeps denormals while it is alive, then restores the caller's settings.
class DefaultFloatingPoint {
 public:
  DefaultFloatingPoint() {
    std::fegetenv(&saved_);
    std::fesetenv(FE_DFL_ENV);
  }
  ~DefaultFloatingPoint() { std::fesetenv(&saved_); }
  DefaultFloatingPoint(const DefaultFloatingPoint&) = delete;
  DefaultFloatingPoint& operator=(const DefaultFloatingPoint&) = delete;

 private:
  std::fenv_t saved_;
};

}  // namespace elmo_fast
