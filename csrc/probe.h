// What this machine can do at most: rates of multiply-adds and of reading memory, to compare a model's speed with.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace elmo_fast {

// What probe() can measure here: "read", "fma_" with the name of an instruction set, and, where the processor and the
// operating system allow them, "vnni_avx512", "amx_bf16" and "amx_int8".
std::vector<std::string> probe_kinds();

// Measures one rate, the best of a few rounds.
//   kind         one of probe_kinds()
//   num_threads  all of them run the same loop, each on data of its own
//   seconds      about how long the measurement takes, without filling the memory
//   nbytes       "read" alone: the memory read again and again, by all threads together, back and forth as the kernels
//                walk weights
// Returns operations a second, a multiply-add counting as two, or for "read" bytes a second; of all threads together.
// Throws std::invalid_argument naming a wrong argument, std::runtime_error if other calls keep the thread pool busy.
double probe(const std::string& kind, int num_threads, double seconds, int64_t nbytes);

}  // namespace elmo_fast
