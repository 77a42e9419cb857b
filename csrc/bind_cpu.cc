// The Python module elmo_fast._cpu: checks arguments, releases the interpreter lock, calls the engine. NumPy only.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "bilstm.h"
#include "dispatch.h"
#include "token_encoder.h"

namespace py = pybind11;

namespace elmo_fast {
namespace {

using Floats = py::array_t<float, py::array::c_style>;
using Shape = std::vector<int64_t>;

std::string to_text(const Shape& shape) {
  std::string text = "(";
  for (size_t i = 0; i < shape.size(); ++i)
    text += (i ? ", " : "") + (shape[i] < 0 ? std::string("any") : std::to_string(shape[i]));
  return text + ")";
}

// The array's data if it is C-contiguous, of this dtype and shape (-1: any size); else ValueError naming the argument.
template <class T>
T* data_of(const py::handle& object, const std::string& name, const Shape& expected, bool writeable = false) {
  if (!py::isinstance<py::array>(object))
    throw py::value_error(name + ": expected a NumPy array, got " + std::string(py::str(py::type::of(object))));
  const auto array = py::reinterpret_borrow<py::array>(object);
  if (!py::isinstance<py::array_t<T, py::array::c_style>>(array))
    throw py::value_error(name + ": expected a C-contiguous array of " + std::string(py::str(py::dtype::of<T>())) +
                          ", got " + std::string(py::str(array.dtype())) +
                          ((array.flags() & py::array::c_style) ? "" : " (not contiguous)"));
  if (!(array.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_)) throw py::value_error(name + ": misaligned data");
  const Shape shape(array.shape(), array.shape() + array.ndim());
  bool equal = shape.size() == expected.size();
  for (size_t i = 0; equal && i < shape.size(); ++i) equal = expected[i] < 0 || shape[i] == expected[i];
  if (!equal) throw py::value_error(name + ": expected shape " + to_text(expected) + ", got " + to_text(shape));
  if (writeable && !array.writeable()) throw py::value_error(name + ": the array is read-only");
  return static_cast<T*>(const_cast<void*>(array.data()));
}

// The items of a Python sequence of `n`, kept alive in `keep`, since what makes them may make them anew each time.
std::vector<py::object> items_of(const py::handle& object, const std::string& name, size_t n,
                                 std::vector<py::object>* keep) {
  std::vector<py::object> items;
  if (!py::isinstance<py::sequence>(object)) throw py::value_error(name + ": expected a sequence");
  for (const py::handle& item : py::reinterpret_borrow<py::sequence>(object))
    items.push_back(py::reinterpret_borrow<py::object>(item));
  if (items.size() != n)
    throw py::value_error(name + ": expected " + std::to_string(n) + " items, got " + std::to_string(items.size()));
  keep->insert(keep->end(), items.begin(), items.end());
  return items;
}

int64_t size_of(const py::handle& object, const std::string& name, int axis) {
  if (!py::isinstance<py::array>(object) || py::reinterpret_borrow<py::array>(object).ndim() <= axis)
    throw py::value_error(name + ": expected a NumPy array with more than " + std::to_string(axis) + " axes");
  return py::reinterpret_borrow<py::array>(object).shape(axis);
}

Floats to_array(const std::vector<float>& values, const Shape& shape) {
  return Floats(std::vector<py::ssize_t>(shape.begin(), shape.end()), values.data());
}

int checked_threads(int num_threads) {
  if (num_threads < 1) throw py::value_error("num_threads: expected at least 1, got " + std::to_string(num_threads));
  return num_threads;
}

std::unique_ptr<TokenEncoder> make_token_encoder(const py::object& char_embedding, const py::list& convolutions,
                                                 const std::string& activation, const py::list& highways,
                                                 const py::object& projection, int64_t max_characters) {
  std::vector<py::object> keep;  // every array that `p` points into
  TokenEncoderParams p{};
  p.char_embedding = data_of<float>(char_embedding, "char_embedding", {-1, -1});
  p.n_char_ids = size_of(char_embedding, "char_embedding", 0);
  p.embedding_dim = size_of(char_embedding, "char_embedding", 1);
  p.max_characters = max_characters;
  if (activation != "relu" && activation != "tanh")
    throw py::value_error("activation: expected 'relu' or 'tanh', got '" + activation + "'");
  p.activation = activation == "tanh" ? Activation::kTanh : Activation::kRelu;
  for (const py::handle& item : convolutions) {
    const std::string name = "convolutions[" + std::to_string(p.convolutions.size()) + "]";
    const std::vector<py::object> pair = items_of(item, name, 2, &keep);
    const py::object &weight = pair[0], &bias = pair[1];
    const int64_t n = size_of(weight, name + " weight", 0), width = size_of(weight, name + " weight", 2);
    if (n < 1 || width < 1 || width > max_characters)
      throw py::value_error(name + ": expected at least one filter and a width in [1, " +
                            std::to_string(max_characters) + "], got " + std::to_string(n) + " of width " +
                            std::to_string(width));
    p.convolutions.push_back({data_of<float>(weight, name + " weight", {n, p.embedding_dim, width}),
                              data_of<float>(bias, name + " bias", {n}), n, width});
  }
  if (p.convolutions.empty()) throw py::value_error("convolutions: expected at least one");
  const int64_t f = p.n_filters();
  for (const py::handle& item : highways) {
    const std::string name = "highways[" + std::to_string(p.highways.size()) + "]";
    const std::vector<py::object> pair = items_of(item, name, 2, &keep);
    const py::object &weight = pair[0], &bias = pair[1];
    p.highways.push_back(
        {data_of<float>(weight, name + " weight", {2 * f, f}), data_of<float>(bias, name + " bias", {2 * f})});
  }
  if (!projection.is_none()) {
    const std::vector<py::object> pair = items_of(projection, "projection", 2, &keep);
    const py::object &weight = pair[0], &bias = pair[1];
    p.projection_dim = size_of(weight, "projection weight", 0);
    if (p.projection_dim < 1) throw py::value_error("projection weight: expected at least one row");
    p.projection_weight = data_of<float>(weight, "projection weight", {p.projection_dim, f});
    p.projection_bias = data_of<float>(bias, "projection bias", {p.projection_dim});
  }
  py::gil_scoped_release release;
  return std::make_unique<TokenEncoder>(p);
}

py::tuple encode(const TokenEncoder& encoder, const py::object& char_ids, int num_threads) {
  const int64_t* ids = data_of<int64_t>(char_ids, "char_ids", {-1, encoder.max_characters()});
  const int64_t n = size_of(char_ids, "char_ids", 0);
  checked_threads(num_threads);
  DistinctTokens tokens;
  {
    py::gil_scoped_release release;
    tokens = encoder.find_distinct(ids, n);
  }
  Floats table({tokens.size(), encoder.output_dim()});
  float* out = table.mutable_data();
  {
    py::gil_scoped_release release;
    encoder.encode(tokens, out, num_threads);
  }
  return py::make_tuple(table, py::array_t<int32_t>(n, tokens.index.data()));
}

// The constructor's arguments, for pickling.
py::tuple encoder_weights(const TokenEncoder& encoder) {
  const TokenEncoder::Weights w = encoder.weights();
  const TokenEncoderParams& s = encoder.shape();
  const int64_t f = s.n_filters();
  py::list convolutions, highways;
  for (size_t i = 0; i < s.convolutions.size(); ++i) {
    const ConvolutionParams& c = s.convolutions[i];
    convolutions.append(
        py::make_tuple(to_array(w.convolution_weights[i], {c.n_filters, s.embedding_dim, c.filter_width}),
                       to_array(w.convolution_biases[i], {c.n_filters})));
  }
  for (size_t i = 0; i < s.highways.size(); ++i)
    highways.append(py::make_tuple(to_array(w.highway_weights[i], {2 * f, f}), to_array(w.highway_biases[i], {2 * f})));
  py::object projection = py::none();
  if (!w.projection_bias.empty())
    projection = py::make_tuple(to_array(w.projection_weight, {s.projection_dim, f}),
                                to_array(w.projection_bias, {s.projection_dim}));
  return py::make_tuple(to_array(w.char_embedding, {s.n_char_ids, s.embedding_dim}), convolutions,
                        s.activation == Activation::kTanh ? "tanh" : "relu", highways, projection, s.max_characters);
}

float checked_clip(double clip, const char* name) {
  const auto value = static_cast<float>(clip);
  // A bound too small for a float32 must not become 0, which means none.
  if (!(clip >= 0) || (clip > 0 && value == 0.0f))
    throw py::value_error(std::string(name) + ": expected 0 or a positive float32, got " + std::to_string(clip));
  return value;
}

std::unique_ptr<BiLstm> make_bilstm(const py::list& layers, double cell_clip, double proj_clip,
                                    bool use_skip_connections) {
  std::vector<py::object> keep;  // every array that `p` points into
  BiLstmParams p{};
  p.cell_clip = checked_clip(cell_clip, "cell_clip");
  p.proj_clip = checked_clip(proj_clip, "proj_clip");
  p.use_skip_connections = use_skip_connections;
  for (const py::handle& layer : layers) {
    const std::string layer_name = "layers[" + std::to_string(p.backward.size()) + "]";
    const std::vector<py::object> directions = items_of(layer, layer_name, 2, &keep);
    for (size_t d = 0; d < 2; ++d) {
      const std::string name = layer_name + "[" + std::to_string(d) + "] ";
      const std::vector<py::object> weights = items_of(directions[d], name, 4, &keep);
      const py::object &input = weights[0], &state = weights[1], &bias = weights[2], &projection = weights[3];
      if (p.forward.empty()) {
        p.projection_dim = size_of(projection, name + "projection", 0);
        p.cell_size = size_of(projection, name + "projection", 1);
        p.input_size = size_of(input, name + "input_weight", 1);
        if (p.projection_dim < 1 || p.cell_size < 1 || p.input_size < 1)
          throw py::value_error(name + ": every size must be at least 1");
      }
      const int64_t input_size = p.backward.empty() ? p.input_size : p.projection_dim;
      const int64_t gates = 4 * p.cell_size;
      (d == 0 ? p.forward : p.backward)
          .push_back({data_of<float>(input, name + "input_weight", {gates, input_size}),
                      data_of<float>(state, name + "state_weight", {gates, p.projection_dim}),
                      data_of<float>(bias, name + "bias", {gates}),
                      data_of<float>(projection, name + "projection", {p.projection_dim, p.cell_size})});
    }
  }
  if (p.forward.empty()) throw py::value_error("layers: expected at least one");
  py::gil_scoped_release release;
  return std::make_unique<BiLstm>(p);
}

void run(const BiLstm& lstm, const py::object& x, const py::object& index, const py::object& lengths,
         const py::object& h, const py::object& c, const py::object& out, int num_threads) {
  const BiLstmParams& s = lstm.shape();
  BiLstmCall call{};
  call.x = data_of<float>(x, "x", {-1, s.input_size});
  const int32_t* given_index = data_of<int32_t>(index, "index", {-1, -1});
  call.batch_size = size_of(index, "index", 0);
  call.num_timesteps = size_of(index, "index", 1);
  const int64_t* given_lengths = data_of<int64_t>(lengths, "lengths", {call.batch_size});
  const int64_t layers = lstm.num_layers(), b = call.batch_size, t = call.num_timesteps, n_rows = size_of(x, "x", 0);
  call.out = data_of<float>(out, "out", {layers, b, t, 2 * s.projection_dim}, true);
  if (h.is_none() != c.is_none()) throw py::value_error("h, c: expected both or neither");
  if (!h.is_none()) {
    call.h = data_of<float>(h, "h", {layers, b, 2 * s.projection_dim}, true);
    call.c = data_of<float>(c, "c", {layers, b, 2 * s.cell_size}, true);
  }
  checked_threads(num_threads);
  // Copies: another thread that wrote into the arrays after the check would send reads out of bounds.
  const std::vector<int32_t> own_index(given_index, given_index + b * t);
  const std::vector<int64_t> own_lengths(given_lengths, given_lengths + b);
  call.index = own_index.data();
  call.lengths = own_lengths.data();
  for (int64_t i = 0; i < b; ++i) {
    if (call.lengths[i] < 0 || call.lengths[i] > t)
      throw py::value_error("lengths[" + std::to_string(i) + "]: expected 0 to " + std::to_string(t) + ", got " +
                            std::to_string(call.lengths[i]));
    for (int64_t k = 0; k < call.lengths[i]; ++k)
      if (call.index[i * t + k] < 0 || call.index[i * t + k] >= n_rows)
        throw py::value_error("index[" + std::to_string(i) + ", " + std::to_string(k) + "]: expected 0 to " +
                              std::to_string(n_rows - 1) + ", got " + std::to_string(call.index[i * t + k]));
  }
  py::gil_scoped_release release;
  lstm.run(call, num_threads);
}

py::tuple bilstm_weights(const BiLstm& lstm) {
  const BiLstmParams& s = lstm.shape();
  const int64_t gates = 4 * s.cell_size;
  py::list layers;
  for (int64_t l = 0; l < lstm.num_layers(); ++l) {
    py::list directions;
    for (int d = 0; d < 2; ++d) {
      const BiLstm::Weights w = lstm.weights(l, d);
      directions.append(py::make_tuple(to_array(w.input_weight, {gates, lstm.layer_input_size(l)}),
                                       to_array(w.state_weight, {gates, s.projection_dim}), to_array(w.bias, {gates}),
                                       to_array(w.projection, {s.projection_dim, s.cell_size})));
    }
    layers.append(py::tuple(directions));
  }
  return py::make_tuple(layers, s.cell_clip, s.proj_clip, s.use_skip_connections);
}

// sigmoid or tanh of one instruction set, for tests.
Floats map_values(const std::string& isa, const std::string& function, const Floats& x) {
  const KernelTable& table = kernels_of(isa);
  if (function != "sigmoid" && function != "tanh") throw py::value_error("function: expected 'sigmoid' or 'tanh'");
  Floats y(x.size());
  (function == "tanh" ? table.tanh : table.sigmoid)(x.data(), y.mutable_data(), x.size());
  return y;
}

std::string compiler() {
#if defined(__clang__)
  return "clang " __clang_version__;
#else
  return "gcc " __VERSION__;
#endif
}

}  // namespace

PYBIND11_MODULE(_cpu, m) {
  m.doc() = "Native ELMo kernels for the CPU. Arrays are C-contiguous; errors in them are ValueError.";
  py::class_<TokenEncoder>(m, "TokenEncoder", "Character CNN, highways and projection.")
      .def(py::init(&make_token_encoder), py::arg("char_embedding"), py::arg("convolutions"), py::arg("activation"),
           py::arg("highways"), py::arg("projection"), py::arg("max_characters"))
      .def("encode", &encode, py::arg("char_ids"), py::arg("num_threads"),
           "char_ids (n, max_characters) int64 -> table (n_distinct, output_dim) float32, index (n,) int32:\n"
           "token i is table[index[i]].")
      .def("weights", &encoder_weights, "The constructor's arguments, bit for bit.")
      .def_property_readonly("output_dim", &TokenEncoder::output_dim)
      .def_property_readonly("max_characters", &TokenEncoder::max_characters)
      .def_property_readonly("nbytes", &TokenEncoder::bytes);
  py::class_<BiLstm>(m, "BiLstm", "Bidirectional LSTM with projection over ragged batches.")
      .def(py::init(&make_bilstm), py::arg("layers"), py::arg("cell_clip"), py::arg("proj_clip"),
           py::arg("use_skip_connections"))
      .def("run", &run, py::arg("x"), py::arg("index"), py::arg("lengths"), py::arg("h"), py::arg("c"), py::arg("out"),
           py::arg("num_threads"),
           "x (n_rows, input_size) float32, index (B, T) int32, lengths (B,) int64 -> out (L, B, T, 2P) float32.\n"
           "Step t of row b reads x[index[b, t]]. h (L, B, 2P) and c (L, B, 2C), float32, are the initial state and\n"
           "receive the final one (rows of length 0 keep theirs); None means zeros.")
      .def("weights", &bilstm_weights, "The constructor's arguments, bit for bit.")
      .def_property_readonly("num_layers", &BiLstm::num_layers)
      .def_property_readonly("input_size", [](const BiLstm& l) { return l.shape().input_size; })
      .def_property_readonly("projection_dim", [](const BiLstm& l) { return l.shape().projection_dim; })
      .def_property_readonly("cell_size", [](const BiLstm& l) { return l.shape().cell_size; })
      .def_property_readonly("nbytes", &BiLstm::bytes);
  m.def("isas_built", &isas_built, "Instruction sets compiled in, slowest first.");
  m.def("isas_available", &isas_available, "Those that this processor and operating system support.");
  m.def("get_isa", [] { return std::string(kernels().name); }, "The one in use.");
  m.def("set_isa", &set_isa, py::arg("name"), "Chooses another; ValueError if it is unknown or not supported.");
  m.def("map_values", &map_values, py::arg("isa"), py::arg("function"), py::arg("x"),
        "sigmoid or tanh as one instruction set computes it, for tests.");
  m.def("compiler", &compiler, "Name and version of the compiler of this module.");
}

}  // namespace elmo_fast
