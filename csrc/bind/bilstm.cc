// Python classes LstmLayer and BiLstm.
#include <memory>
#include <tuple>

#include "bind/numpy_arguments.h"
#include "model/bilstm.h"

namespace elmo_fast {
namespace {

std::shared_ptr<LstmLayer> make_layer(const py::object& input_weight, const py::object& state_weight,
                                      const py::object& bias, const py::object& projection,
                                      const std::string& precision) {
  const int64_t projection_dim = size_of(projection, "projection", 0), cell_size = size_of(projection, "projection", 1),
                input_size = size_of(input_weight, "input_weight", 1), gates = 4 * cell_size;
  if (projection_dim < 1 || cell_size < 1 || input_size < 1)
    throw py::value_error("LstmLayer: every size must be at least 1");
  const LstmParams p{data_of<float>(input_weight, "input_weight", {gates, input_size}),
                     data_of<float>(state_weight, "state_weight", {gates, projection_dim}),
                     data_of<float>(bias, "bias", {gates}),
                     data_of<float>(projection, "projection", {projection_dim, cell_size})};
  const Precision parsed = parse_precision(precision);
  py::gil_scoped_release release;
  return std::make_shared<LstmLayer>(p, input_size, projection_dim, cell_size, parsed);
}

// Returns the constructor's arguments, for pickling.
py::tuple layer_weights(const LstmLayer& layer) {
  const int64_t gates = 4 * layer.cell_size();
  LstmLayer::Weights w;
  {
    py::gil_scoped_release release;
    w = layer.weights();
  }
  return py::make_tuple(to_array(w.input_weight, {gates, layer.input_size()}),
                        to_array(w.state_weight, {gates, layer.projection_dim()}), to_array(w.bias, {gates}),
                        to_array(w.projection, {layer.projection_dim(), layer.cell_size()}),
                        name_of(layer.precision()));
}

std::shared_ptr<BiLstm> make_bilstm(const py::list& layers, double cell_clip, double proj_clip,
                                    bool use_skip_connections) {
  const BiLstmOptions options{checked_clip(cell_clip, "cell_clip"), checked_clip(proj_clip, "proj_clip"),
                              use_skip_connections};
  BiLstm::Layers directions[2];
  for (const py::handle& layer : layers) {
    const std::string name = "layers[" + std::to_string(directions[0].size()) + "]";
    std::vector<py::object> keep;
    const std::vector<py::object> pair = items_of(layer, name, 2, &keep);
    for (size_t d = 0; d < 2; ++d) {
      if (!py::isinstance<LstmLayer>(pair[d]))
        throw py::value_error(name + "[" + std::to_string(d) + "]: expected an LstmLayer, got " +
                              std::string(py::str(py::type::of(pair[d]))));
      directions[d].push_back(pair[d].cast<std::shared_ptr<LstmLayer>>());
    }
  }
  return std::make_shared<BiLstm>(std::move(directions[0]), std::move(directions[1]), options);
}

void run(const BiLstm& lstm, const py::object& x, const py::object& index, const py::object& lengths,
         const py::object& out, int num_threads, const py::object& initial_h, const py::object& initial_c,
         const py::object& h, const py::object& c, const py::object& saved) {
  const int64_t projected = lstm.projection_dim(), layers = lstm.num_layers();
  BiLstmCall call{};
  call.x = data_of<float>(x, "x", {-1, lstm.input_size()});
  call.batch_size = size_of(index, "index", 0);
  call.num_timesteps = size_of(index, "index", 1);
  const int64_t b = call.batch_size, t = call.num_timesteps;
  const std::vector<int64_t> own_lengths = checked_lengths(lengths, b, t);
  call.out = data_of<float>(out, "out", {layers, b, t, 2 * projected}, true);
  std::tie(call.initial_h, call.initial_c) = initial_state(lstm, initial_h, initial_c, b);
  if (h.is_none() != c.is_none()) throw py::value_error("h, c: expected both or neither");
  if (!h.is_none()) {
    call.h = data_of<float>(h, "h", {layers, b, 2 * projected}, true);
    call.c = data_of<float>(c, "c", {layers, b, 2 * lstm.cell_size()}, true);
  }
  if (!saved.is_none()) {
    if (lstm.format() != Precision::kFloat32)
      throw py::value_error(std::string("saved: expected a biLSTM packed in float32, got ") + name_of(lstm.format()));
    call.saved = data_of<float>(saved, "saved", {layers, 2, b * t, saved_size(lstm.cell_size(), projected)}, true);
  }
  checked_threads(num_threads);
  // Copied, because another thread could write into the arrays after the check and cause reads out of bounds.
  const std::vector<int32_t> own_index = checked_index(index, own_lengths, t, size_of(x, "x", 0));
  call.index = own_index.data();
  call.lengths = own_lengths.data();
  py::gil_scoped_release release;
  lstm.run(call, num_threads);
}

py::tuple bilstm_arguments(const BiLstm& lstm) {
  py::list layers;
  for (int64_t l = 0; l < lstm.num_layers(); ++l)
    layers.append(py::make_tuple(std::const_pointer_cast<LstmLayer>(lstm.layers(0)[static_cast<size_t>(l)]),
                                 std::const_pointer_cast<LstmLayer>(lstm.layers(1)[static_cast<size_t>(l)])));
  const BiLstmOptions& o = lstm.options();
  return py::make_tuple(layers, o.cell_clip, o.proj_clip, o.use_skip_connections);
}

}  // namespace

void bind_bilstm(py::module_& m) {
  py::class_<LstmLayer, std::shared_ptr<LstmLayer>>(m, "LstmLayer", "One layer of one direction, packed.")
      .def(py::init(&make_layer), py::arg("input_weight"), py::arg("state_weight"), py::arg("bias"),
           py::arg("projection"), py::arg("precision") = "float32")
      .def("weights", &layer_weights, "The constructor's arguments; in float32 bit for bit, else as rounded.")
      .def_property_readonly("precision", [](const LstmLayer& l) { return name_of(l.precision()); })
      .def_property_readonly("nbytes", &LstmLayer::bytes);
  py::class_<BiLstm, std::shared_ptr<BiLstm>>(m, "BiLstm", "Bidirectional LSTM with projection over ragged batches.")
      .def(py::init(&make_bilstm), py::arg("layers"), py::arg("cell_clip"), py::arg("proj_clip"),
           py::arg("use_skip_connections"))
      .def(
          "run", &run, py::arg("x"), py::arg("index"), py::arg("lengths"), py::arg("out"), py::arg("num_threads"),
          py::arg("initial_h") = py::none(), py::arg("initial_c") = py::none(), py::arg("h") = py::none(),
          py::arg("c") = py::none(), py::arg("saved") = py::none(),
          "x (n_rows, input_size) float32, index (B, T) int32, lengths (B,) int64 -> out (L, B, T, 2P) float32.\n"
          "Step t of row b reads x[index[b, t]]. initial_h (L, B, 2P) and initial_c (L, B, 2C), float32; None: zeros.\n"
          "h and c, of the same shapes, receive the final state; a row of length 0 ends with its initial state.\n"
          "saved (L, 2, B * T, saved_size) float32 receives what LstmBackward reads; None saves nothing.")
      .def("arguments", &bilstm_arguments, "The constructor's arguments.")
      .def_property_readonly("num_layers", &BiLstm::num_layers)
      .def_property_readonly("input_size", &BiLstm::input_size)
      .def_property_readonly("projection_dim", &BiLstm::projection_dim)
      .def_property_readonly("cell_size", &BiLstm::cell_size)
      .def_property_readonly("precision", [](const BiLstm& l) { return name_of(l.precision()); })
      .def_property_readonly("precision_in_use", [](const BiLstm& l) { return name_of(l.format()); })
      .def_property_readonly("nbytes", &BiLstm::bytes);
  m.def("saved_size", &saved_size, py::arg("cell_size"), py::arg("projection_dim"),
        "Floats per token, layer and direction that BiLstm.run saves for the backward pass.");
}

}  // namespace elmo_fast
