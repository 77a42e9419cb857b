// Python class BiLm: a whole biLM in one call.
#include "model/bilm.h"

#include <algorithm>
#include <memory>
#include <tuple>

#include "bind/numpy_arguments.h"

namespace elmo_fast {
namespace {

// New arrays for the final state (L, B, 2P) and (L, B, 2C), or None.
struct FinalState {
  py::object h = py::none(), c = py::none();
  float *h_data = nullptr, *c_data = nullptr;

  FinalState(const BiLstm& lstm, int64_t batch_size, bool wanted) {
    if (!wanted) return;
    Floats new_h({lstm.num_layers(), batch_size, 2 * lstm.projection_dim()});
    Floats new_c({lstm.num_layers(), batch_size, 2 * lstm.cell_size()});
    h_data = new_h.mutable_data(), c_data = new_c.mutable_data();
    h = new_h, c = new_c;
  }
};

py::tuple forward(const BiLm& bilm, const py::object& char_ids, const py::object& h, const py::object& c,
                  bool keep_state, int num_threads) {
  const BiLstm& lstm = *bilm.lstm();
  BiLmCall call{};
  const std::vector<int64_t> own_ids = copied_char_ids(char_ids, {-1, -1, bilm.max_characters()});
  call.char_ids = own_ids.data();
  call.batch_size = size_of(char_ids, "char_ids", 0), call.num_timesteps = size_of(char_ids, "char_ids", 1);
  std::tie(call.initial_h, call.initial_c) = initial_state(lstm, h, c, call.batch_size);
  checked_threads(num_threads);
  const FinalState state(lstm, call.batch_size, keep_state);
  call.h = state.h_data, call.c = state.c_data;
  Floats out({bilm.num_layers(), call.batch_size, call.num_timesteps + 2, bilm.output_dim()});
  py::array_t<bool> mask({call.batch_size, call.num_timesteps + 2});
  call.out = out.mutable_data(), call.mask = mask.mutable_data();
  {
    py::gil_scoped_release release;
    bilm.run(call, num_threads);
  }
  return py::make_tuple(out, mask, state.h, state.c);
}

py::tuple forward_embedded(const BiLstm& lstm, const py::object& table, const py::object& index, const py::object& mask,
                           const py::object& h, const py::object& c, bool keep_state, int num_threads) {
  BiLstmCall call{};
  call.x = data_of<float>(table, "table", {-1, lstm.projection_dim()});
  call.batch_size = size_of(index, "index", 0), call.num_timesteps = size_of(index, "index", 1);
  const bool* present = data_of<bool>(mask, "mask", {call.batch_size, call.num_timesteps});
  if (lstm.input_size() != lstm.projection_dim())
    throw py::value_error("BiLstm: expected an input size of projection_dim, " + std::to_string(lstm.projection_dim()) +
                          ", got " + std::to_string(lstm.input_size()));
  const int64_t steps = call.num_timesteps;
  // Copied like the index: another thread could write into it after the check.
  const std::unique_ptr<bool[]> own_mask(new bool[static_cast<size_t>(call.batch_size * steps)]);
  std::copy_n(present, call.batch_size * steps, own_mask.get());
  std::vector<int64_t> lengths;
  for (int64_t b = 0; b < call.batch_size; ++b)
    lengths.push_back(std::count(own_mask.get() + b * steps, own_mask.get() + (b + 1) * steps, true));
  const std::vector<int32_t> own_index = checked_index(index, lengths, steps, size_of(table, "table", 0));
  for (int64_t i = 0; i < call.batch_size * steps; ++i)
    if (own_mask[static_cast<size_t>(i)] &&
        (own_index[static_cast<size_t>(i)] < 0 || own_index[static_cast<size_t>(i)] >= size_of(table, "table", 0)))
      throw py::value_error("index: out of range where the mask is true");
  call.index = own_index.data(), call.lengths = lengths.data();
  std::tie(call.initial_h, call.initial_c) = initial_state(lstm, h, c, call.batch_size);
  checked_threads(num_threads);
  const FinalState state(lstm, call.batch_size, keep_state);
  call.h = state.h_data, call.c = state.c_data;
  Floats out({lstm.num_layers() + 1, call.batch_size, steps, 2 * lstm.projection_dim()});
  call.out = out.mutable_data();
  {
    py::gil_scoped_release release;
    run_layers(lstm, call, own_mask.get(), num_threads);
  }
  return py::make_tuple(out, state.h, state.c);
}

std::shared_ptr<BiLm> make_bilm(std::shared_ptr<CachedTokenEncoder> encoder, std::shared_ptr<BiLstm> lstm) {
  return std::make_shared<BiLm>(std::move(encoder), std::move(lstm));
}

}  // namespace

void bind_bilm(py::module_& m) {
  py::class_<BiLm, std::shared_ptr<BiLm>>(m, "BiLm", "A token encoder and a biLSTM as one model.")
      .def(py::init(&make_bilm), py::arg("encoder").none(false), py::arg("lstm").none(false))
      .def("forward", &forward, py::arg("char_ids"), py::arg("h"), py::arg("c"), py::arg("keep_state"),
           py::arg("num_threads"),
           "char_ids (B, T, max_characters) int64, 0 where there is no token; h (L, B, 2P) and c (L, B, 2C) float32, "
           "the\n"
           "initial state, or None: zeros -> activations (L + 1, B, T + 2, 2P) float32 with sentence markers, zero on\n"
           "padding; mask (B, T + 2) bool; and the final h and c, new arrays, or None without keep_state.")
      .def_property_readonly("num_layers", &BiLm::num_layers)
      .def_property_readonly("output_dim", &BiLm::output_dim)
      .def_property_readonly("max_characters", &BiLm::max_characters);
  m.def("forward_embedded", &forward_embedded, py::arg("lstm"), py::arg("table"), py::arg("index"), py::arg("mask"),
        py::arg("h"), py::arg("c"), py::arg("keep_state"), py::arg("num_threads"),
        "The part of BiLm.forward after the token encoder: table (n, P) float32, index (B, T) int32 into its rows and\n"
        "mask (B, T) bool, markers included -> activations, final h, final c.");
}

}  // namespace elmo_fast
