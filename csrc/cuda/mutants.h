// The faults that the tests plant in the kernels, one at a time, to see that each is caught: every barrier, bound, mask
// and clip has one. They exist only in the emulated build; nvcc sees constants.
#pragma once

namespace elmo_fast {
namespace gpu {

#define ELMO_FAST_MUTANTS(X) \
  X(kNone)                   \
  X(kCharCnnFilterBound)     \
  X(kCharCnnBarrier)         \
  X(kCharCnnWindowBound)     \
  X(kCharCnnTail)            \
  X(kCharCnnIdCheck)         \
  X(kHighwayBound)           \
  X(kMixBound)               \
  X(kMixMask)                \
  X(kMixMarkers)             \
  X(kDotDepth)               \
  X(kStageRowBound)          \
  X(kStageBarrier)           \
  X(kCellBound)              \
  X(kGatesRowBound)          \
  X(kGatesLength)            \
  X(kCellClip)               \
  X(kOutputBound)            \
  X(kProjectRowBound)        \
  X(kProjectLength)          \
  X(kProjClip)               \
  X(kPartialsBarrier)        \
  X(kSkipOmitted)            \
  X(kReverseTime)            \
  X(kAheadRowBound)          \
  X(kPersistentCellBound)    \
  X(kPersistentRowBound)     \
  X(kSumsBarrier)            \
  X(kUpdateRowBound)         \
  X(kUpdateLength)           \
  X(kPersistentCellClip)     \
  X(kFinishLength)           \
  X(kPersistentOutputBound)  \
  X(kPersistentStageBarrier) \
  X(kSumsReadyBarrier)       \
  X(kCellsReadyBarrier)      \
  X(kProductLength)          \
  X(kProductCellBound)       \
  X(kProductCellClip)        \
  X(kProductOutputLength)    \
  X(kProductOutputBound)     \
  X(kGridSyncPartials)       \
  X(kGridSyncOutputs)

enum class Mutant : int {
#define ELMO_FAST_MUTANT(name) name,
  ELMO_FAST_MUTANTS(ELMO_FAST_MUTANT)
#undef ELMO_FAST_MUTANT
};

}  // namespace gpu
}  // namespace elmo_fast
