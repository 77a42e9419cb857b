// The limits of this machine, to compare a model's speed with: rates of multiply-adds and of reading memory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace elmo_fast {

// What probe() can measure here: "read", and for each instruction set of this machine "fma_" and its name, products of
// float32; likewise "bf16_" and "int8_" for products of those.
std::vector<std::string> probe_kinds();

// Measures one rate, the best of a few rounds.
//   kind         one of probe_kinds()
//   num_threads  all of them run the same loop, each on its own data
//   seconds      approximate duration of the measurement, not including filling the memory
//   nbytes       for "read" only: the size of the memory that all threads together read again and again, back and forth
//                as the kernels walk the weights
// Returns operations per second, a multiply-add counting as two, or for "read" bytes per second; of all threads
// together. Throws std::invalid_argument naming a wrong argument, std::runtime_error if other calls keep the thread
// pool busy.
double probe(const std::string& kind, int num_threads, double seconds, int64_t nbytes);

}  // namespace elmo_fast
