#pragma once

// For small functions whose operations the compiler must schedule together with their caller's: a call in between
// spills every register. A build that is not for speed may say otherwise, and compiles in a fraction of the time.
#ifndef ELMO_FAST_INLINE
#define ELMO_FAST_INLINE inline __attribute__((always_inline))
#endif
