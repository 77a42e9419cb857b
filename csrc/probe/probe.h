// What this machine can do at most: rates of multiply-adds and of reading memory, to compare a model's speed with.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace elmo_fast {

// What probe() can measure here: "read"; and with the name of an instruction set that this machine has "fma_", products
// of float32, "bf16_" and "int8_", products of those.
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
