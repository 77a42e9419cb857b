#pragma once

// For small functions whose operations the compiler must schedule together with their caller's: a call in between
// spills every register.
#define ELMO_FAST_INLINE inline __attribute__((always_inline))
