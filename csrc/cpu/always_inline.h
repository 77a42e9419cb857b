#pragma once

// For small functions whose operations the compiler must schedule together with those of their caller: a call in
// between spills every register. A build that need not be fast may define it otherwise, and compiles in a fraction of
// the time.
#ifndef ELMO_FAST_INLINE
#define ELMO_FAST_INLINE inline __attribute__((always_inline))
#endif
