// From run-time choices to template arguments.
#pragma once

#include <type_traits>

#include "cuda/kernel_params.h"
#include "cuda/storage.cuh"

namespace elmo_fast {
namespace gpu {

// Calls body(T{}) with the type that a storage names.
template <class Body>
void with_storage(Storage storage, Body body) {
  switch (storage) {
    case Storage::kFloat32:
      return body(float{});
    case Storage::kFloat16:
      return body(Half{});
    case Storage::kBfloat16:
      return body(Bfloat16{});
  }
}

// Calls body(integral_constant) with the rows of a tile.
template <class Body>
void with_rows(int rows, Body body) {
  if (rows == 1)
    body(std::integral_constant<int, 1>{});
  else if (rows == 4)
    body(std::integral_constant<int, 4>{});
  else
    body(std::integral_constant<int, 8>{});
}

}  // namespace gpu
}  // namespace elmo_fast
