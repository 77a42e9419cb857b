// Python class LstmBackward and the order of its tokens.
#include <memory>

#include "bind/numpy_arguments.h"
#include "model/bilstm.h"
#include "model/lstm_backward.h"

namespace elmo_fast {
namespace {

std::unique_ptr<LstmBackward> make(const py::object& state_weight, const py::object& projection, double cell_clip,
                                   double proj_clip) {
  const int64_t projection_dim = size_of(projection, "projection", 0), cell_size = size_of(projection, "projection", 1);
  if (projection_dim < 1 || cell_size < 1) throw py::value_error("LstmBackward: every size must be at least 1");
  const float* state = data_of<float>(state_weight, "state_weight", {4 * cell_size, projection_dim});
  const float* projected = data_of<float>(projection, "projection", {projection_dim, cell_size});
  const BiLstmOptions options{checked_clip(cell_clip, "cell_clip"), checked_clip(proj_clip, "proj_clip"), false};
  py::gil_scoped_release release;
  return std::make_unique<LstmBackward>(state, projected, projection_dim, cell_size, options);
}

void run(const LstmBackward& lstm, const py::object& lengths, int direction, const py::object& saved,
         const py::object& h_first, const py::object& c_first, const py::object& dout, const py::object& dh_last,
         const py::object& dc_last, const py::object& dgates, const py::object& m, const py::object& dh,
         const py::object& h_before, const py::object& dh_first, const py::object& dc_first, int num_threads) {
  const int64_t p = lstm.projection_dim(), c = lstm.cell_size();
  if (direction != 0 && direction != 1)
    throw py::value_error("direction: expected 0 or 1, got " + std::to_string(direction));
  LstmBackwardCall call{};
  call.dout = data_of<float>(dout, "dout", {-1, -1, 2 * p});
  call.batch_size = size_of(dout, "dout", 0);
  call.num_timesteps = size_of(dout, "dout", 1);
  call.direction = direction;
  const int64_t b = call.batch_size;
  const std::vector<int64_t> own_lengths = checked_lengths(lengths, b, call.num_timesteps);
  call.lengths = own_lengths.data();
  int64_t tokens = 0;
  for (const int64_t n : own_lengths) tokens += n;
  call.saved = data_of<float>(saved, "saved", {-1, saved_size(c, p)});
  if (size_of(saved, "saved", 0) < tokens)
    throw py::value_error("saved: expected at least " + std::to_string(tokens) + " rows, the sum of the lengths, got " +
                          std::to_string(size_of(saved, "saved", 0)));
  const auto state = [&](const py::object& object, const char* name, int64_t size, bool writeable) -> float* {
    return object.is_none() ? nullptr : data_of<float>(object, name, {b, 2 * size}, writeable);
  };
  call.h_first = state(h_first, "h_first", p, false), call.c_first = state(c_first, "c_first", c, false);
  call.dh_last = state(dh_last, "dh_last", p, false), call.dc_last = state(dc_last, "dc_last", c, false);
  call.dh_first = state(dh_first, "dh_first", p, true), call.dc_first = state(dc_first, "dc_first", c, true);
  if (!call.h_first != !call.c_first || !call.dh_last != !call.dc_last || !call.dh_first != !call.dc_first)
    throw py::value_error("h_first and c_first, dh_last and dc_last, dh_first and dc_first: expected both or neither");
  call.dgates = data_of<float>(dgates, "dgates", {tokens, lstm.gates_stride()}, true);
  call.m = data_of<float>(m, "m", {tokens, lstm.cells_stride()}, true);
  call.dh = data_of<float>(dh, "dh", {tokens, lstm.outputs_stride()}, true);
  call.h_before = data_of<float>(h_before, "h_before", {tokens, lstm.outputs_stride()}, true);
  checked_threads(num_threads);
  py::gil_scoped_release release;
  lstm.run(call, num_threads);
}

py::array_t<int64_t> order(const py::object& lengths, int64_t num_timesteps, int direction) {
  const int64_t batch_size = size_of(lengths, "lengths", 0);
  const std::vector<int64_t> own_lengths = checked_lengths(lengths, batch_size, num_timesteps);
  const std::vector<int64_t> tokens = token_order(own_lengths.data(), batch_size, num_timesteps, direction);
  return py::array_t<int64_t>(static_cast<py::ssize_t>(tokens.size()), tokens.data());
}

}  // namespace

void bind_lstm_backward(py::module_& m) {
  py::class_<LstmBackward>(m, "LstmBackward", "Backward through time of one direction of one layer.")
      .def(py::init(&make), py::arg("state_weight"), py::arg("projection"), py::arg("cell_clip"), py::arg("proj_clip"))
      .def("run", &run, py::arg("lengths"), py::arg("direction"), py::arg("saved"), py::arg("h_first"),
           py::arg("c_first"), py::arg("dout"), py::arg("dh_last"), py::arg("dc_last"), py::arg("dgates"), py::arg("m"),
           py::arg("dh"), py::arg("h_before"), py::arg("dh_first"), py::arg("dc_first"), py::arg("num_threads"),
           "See LstmBackwardCall in csrc/model/lstm_backward.h; arrays of float32, lengths of int64, tokens in "
           "token_order.")
      .def_property_readonly("padded_cells", &LstmBackward::padded_cells)
      .def_property_readonly("gates_stride", &LstmBackward::gates_stride)
      .def_property_readonly("cells_stride", &LstmBackward::cells_stride)
      .def_property_readonly("outputs_stride", &LstmBackward::outputs_stride)
      .def_property_readonly("nbytes", &LstmBackward::bytes);
  m.def("token_order", &order, py::arg("lengths"), py::arg("num_timesteps"), py::arg("direction"),
        "The order of a direction's tokens in what it saves: (tokens,) int64, b * num_timesteps + t of each.");
}

}  // namespace elmo_fast
