# Chooses the GPU architectures that the kernels are compiled for: sets CMAKE_CUDA_ARCHITECTURES.
#
# Given by -DCMAKE_CUDA_ARCHITECTURES or the environment variable CUDAARCHS, they are taken as they are. Otherwise
# ELMO_FAST_CUDA_ARCHS says:
#   auto    the GPUs of this machine; without one that is visible, two virtual and one real architecture
#   native  the GPUs of this machine; an error without one
#   all     every architecture that the documentation promises
#   80;90   these, in CMake's notation: 80-real is machine code alone, 80-virtual PTX alone, 80 both
set(ELMO_FAST_CUDA_ARCHS auto CACHE STRING "GPU architectures: auto, native, all, or a list such as 80;90")

# The oldest architecture that the kernels run on: kOldestCapability of device.h.
set(oldest 75)

# PTX of the oldest architecture runs on every later GPU: the driver compiles it on first use and caches the result. That
# of 8.0 has tensor cores.
# Machine code for 9.0 spares the data-centre GPUs that a machine without one most often builds for this wait. Compiling
# for the whole list takes twice the processor time.
set(without_gpu ${oldest}-virtual 80-virtual 90-real)

# Compute capabilities of this machine's GPUs as 75, 86, ..., oldest first; empty without a driver.
function(find_gpus result)
  execute_process(COMMAND nvidia-smi --query-gpu=compute_cap --format=csv,noheader
                  RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_QUIET TIMEOUT 60)
  set(found "")
  if(status EQUAL 0)
    string(REGEX MATCHALL "[0-9]+\\.[0-9]" capabilities "${output}")
    foreach(capability IN LISTS capabilities)
      string(REPLACE "." "" number "${capability}")
      if(number GREATER_EQUAL oldest)
        list(APPEND found ${number})
      endif()
    endforeach()
    list(REMOVE_DUPLICATES found)
    list(SORT found COMPARE NATURAL)
  endif()
  set(${result} "${found}" PARENT_SCOPE)
endfunction()

# Machine code for each GPU, and PTX of the oldest for GPUs that are not here. A GPU that is newer than the compiler
# gets PTX of the newest architecture that the compiler knows.
function(architectures_of result)
  execute_process(COMMAND ${CMAKE_CUDA_COMPILER} --list-gpu-arch OUTPUT_VARIABLE output)
  string(REGEX MATCHALL "[0-9]+" known "${output}")
  list(SORT known COMPARE NATURAL)
  set(chosen "")
  foreach(number IN LISTS ARGN)
    if(number IN_LIST known)
      list(APPEND chosen ${number}-real)
    endif()
    foreach(candidate IN LISTS known)
      if(candidate LESS_EQUAL number)
        set(virtual ${candidate})
      endif()
    endforeach()
    list(APPEND virtuals ${virtual})
  endforeach()
  list(GET virtuals 0 virtual)
  set(${result} ${chosen} ${virtual}-virtual PARENT_SCOPE)
endfunction()

# Every entry must name an architecture, and one that the kernels run on.
function(check_list)
  foreach(entry IN LISTS ARGN)
    string(REGEX MATCH "^[0-9]+" number "${entry}")
    if(NOT entry MATCHES "^[0-9]+[af]?(-real|-virtual)?$" OR number LESS oldest)
      message(FATAL_ERROR "ELMO_FAST_CUDA_ARCHS: expected auto, native, all, or a list of architectures from ${oldest} on "
                          "such as 80;90, got \"${entry}\"")
    endif()
  endforeach()
endfunction()

# Called once the compiler is known. A macro, since it sets a variable of the caller's.
macro(choose_architectures)
  if(ELMO_FAST_CUDA_ARCHS STREQUAL "all")
    set(reason "the whole list")
    if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12.8)
      set(CMAKE_CUDA_ARCHITECTURES 75-real 80-real 86-real 89-real 90-real 90-virtual)
    else()
      set(CMAKE_CUDA_ARCHITECTURES 75-real 80-real 86-real 89-real 90-real 100-real 120-real 120-virtual)
    endif()
  elseif(ELMO_FAST_CUDA_ARCHS MATCHES "^(auto|native)$")
    find_gpus(gpus)
    if(gpus)
      set(reason "this machine's GPUs")
      architectures_of(CMAKE_CUDA_ARCHITECTURES ${gpus})
    elseif(ELMO_FAST_CUDA_ARCHS STREQUAL "native")
      message(FATAL_ERROR "ELMO_FAST_CUDA_ARCHS=native: expected a GPU of compute capability 7.5 or newer, but nvidia-smi "
                          "shows none")
    else()
      set(reason "no GPU is visible here; ELMO_FAST_CUDA_ARCHS=all compiles for every supported one")
      set(CMAKE_CUDA_ARCHITECTURES ${without_gpu})
    endif()
  else()
    set(reason "ELMO_FAST_CUDA_ARCHS")
    check_list(${ELMO_FAST_CUDA_ARCHS})
    set(CMAKE_CUDA_ARCHITECTURES ${ELMO_FAST_CUDA_ARCHS})
  endif()
endmacro()
