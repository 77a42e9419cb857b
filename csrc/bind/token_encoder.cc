// Python class CachedTokenEncoder.
#include <algorithm>
#include <memory>

#include "bind/numpy_arguments.h"
#include "model/cached_encoder.h"
#include "model/characters.h"
#include "model/distinct_tokens.h"
#include "model/marked_batch.h"

namespace elmo_fast {
namespace {

std::shared_ptr<CachedTokenEncoder> make_token_encoder(const py::object& char_embedding, const py::list& convolutions,
                                                       const std::string& activation, const py::list& highways,
                                                       const py::object& projection, int64_t max_characters,
                                                       const std::string& precision, int64_t word_cache_size,
                                                       int num_threads) {
  if (word_cache_size < 0)
    throw py::value_error("word_cache_size: expected 0 or more, got " + std::to_string(word_cache_size));
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
  checked_threads(num_threads);
  py::gil_scoped_release release;
  return std::make_shared<CachedTokenEncoder>(p, parse_precision(precision), word_cache_size, num_threads);
}

// Encodes the distinct ones among n tokens, which are checked; `tokens` receives the index of each token in the result.
Floats encode_distinct(const CachedTokenEncoder& cached, const int64_t* ids, int64_t n, int num_threads,
                       DistinctTokens* tokens) {
  {
    py::gil_scoped_release release;
    *tokens = cached.encoder().find_distinct(ids, n);
  }
  Floats table({tokens->size(), cached.encoder().output_dim()});
  float* out = table.mutable_data();
  py::gil_scoped_release release;
  cached.encode(tokens, out, num_threads);
  return table;
}

py::tuple encode(const CachedTokenEncoder& cached, const py::object& char_ids, int num_threads) {
  const std::vector<int64_t> ids = copied_char_ids(char_ids, {-1, cached.encoder().max_characters()});
  const int64_t n = size_of(char_ids, "char_ids", 0);
  DistinctTokens tokens;
  const Floats table = encode_distinct(cached, ids.data(), n, checked_threads(num_threads), &tokens);
  return py::make_tuple(table, py::array_t<int32_t>(n, tokens.index.data()));
}

// Like encode, but without remembered words, and saving the activations needed by the backward pass.
py::tuple encode_for_training(const CachedTokenEncoder& cached, const py::object& char_ids, const py::object& table,
                              const py::object& saved, int num_threads) {
  const TokenEncoder& encoder = cached.encoder();
  if (encoder.precision_in_use() != Precision::kFloat32)
    throw py::value_error(std::string("TokenEncoder: expected one packed in float32, got ") +
                          name_of(encoder.precision_in_use()));
  const std::vector<int64_t> ids = copied_char_ids(char_ids, {-1, encoder.max_characters()});
  const int64_t n = size_of(char_ids, "char_ids", 0);
  float* out = data_of<float>(table, "table", {n, encoder.output_dim()}, true);
  float* planes = data_of<float>(saved, "saved", {-1}, true);
  const int64_t plane = n * encoder.saved_stride();
  if (size_of(saved, "saved", 0) < encoder.saved_planes() * plane)
    throw py::value_error("saved: expected " + std::to_string(encoder.saved_planes() * plane) + " floats, got " +
                          std::to_string(size_of(saved, "saved", 0)));
  checked_threads(num_threads);
  DistinctTokens tokens;
  {
    py::gil_scoped_release release;
    tokens = encoder.find_distinct(ids.data(), n);
    encoder.encode(tokens, out, num_threads, planes);
  }
  return py::make_tuple(tokens.size(), py::array_t<int32_t>(n, tokens.index.data()));
}

// Returns the gradient of every convolution's table.
py::list table_gradients(const CachedTokenEncoder& cached, const py::object& char_ids, const py::object& gradient,
                         int num_threads) {
  const TokenEncoder& encoder = cached.encoder();
  const TokenEncoderParams& shape = encoder.shape();
  const std::vector<int64_t> ids = copied_char_ids(char_ids, {-1, encoder.max_characters()});
  const int64_t n = size_of(char_ids, "char_ids", 0);
  const float* given = data_of<float>(gradient, "gradient", {n, shape.n_filters()});
  checked_threads(num_threads);
  const DistinctTokens tokens = encoder.find_distinct(ids.data(), n);
  if (tokens.size() != n)
    throw py::value_error("char_ids: expected distinct rows, got " + std::to_string(n - tokens.size()) + " repeated");
  py::list result;
  for (size_t i = 0; i < shape.convolutions.size(); ++i) {
    const ConvolutionParams& c = shape.convolutions[i];
    Floats table({c.filter_width, shape.n_char_ids, c.n_filters});
    float* out = table.mutable_data();
    {
      py::gil_scoped_release release;
      encoder.table_gradient(tokens, given, static_cast<int64_t>(i), out, num_threads);
    }
    result.append(table);
  }
  return result;
}

// A batch of character ids with its markers.
struct Marked {
  MarkedBatch batch;
  py::array_t<int32_t> index;
  py::array_t<bool> mask;

  Marked(const py::object& char_ids, int64_t width, int64_t n_ids) {
    const std::vector<int64_t> ids = copied_char_ids(char_ids, {-1, -1, width});
    const std::vector<int64_t> bos = marker_char_ids(kBeginSentence, width), eos = marker_char_ids(kEndSentence, width);
    const int64_t rows = size_of(char_ids, "char_ids", 0), steps = size_of(char_ids, "char_ids", 1);
    mask = py::array_t<bool>({rows, steps + 2});
    index = py::array_t<int32_t>({rows, steps + 2});
    bool* present = mask.mutable_data();
    py::gil_scoped_release release;
    batch = add_markers(ids.data(), nullptr, rows, steps, width, n_ids, bos.data(), eos.data(), present);
  }

  int64_t size() const { return static_cast<int64_t>(batch.positions.size()); }

  // Fills index: the token of each position, 0 for positions that are not read.
  void spread(const DistinctTokens& tokens) {
    int32_t* out = index.mutable_data();
    std::fill(out, out + index.size(), 0);
    for (size_t i = 0; i < batch.positions.size(); ++i) out[batch.positions[i]] = tokens.index[i];
  }
};

// The tokens that BiLm.forward would encode, for use on another device.
py::tuple distinct_tokens(const py::object& char_ids, int64_t n_ids) {
  const int64_t width = size_of(char_ids, "char_ids", 2);
  Marked marked(char_ids, width, n_ids);
  DistinctTokens tokens;
  {
    py::gil_scoped_release release;
    tokens = find_distinct(marked.batch.char_ids.data(), marked.size(), width);
  }
  marked.spread(tokens);
  py::array_t<int32_t> distinct({tokens.size(), width});
  std::copy(tokens.char_ids.begin(), tokens.char_ids.end(), distinct.mutable_data());
  return py::make_tuple(distinct, marked.index, marked.mask);
}

// Returns the constructor's arguments, for pickling.
py::tuple encoder_weights(const CachedTokenEncoder& cached) {
  const TokenEncoder& encoder = cached.encoder();
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
                        s.activation == Activation::kTanh ? "tanh" : "relu", highways, projection, s.max_characters,
                        name_of(encoder.precision()), cached.words().capacity());
}

py::dict cache_info(const CachedTokenEncoder& cached) {
  const WordCache::Info info = cached.words().info();
  py::dict result;
  result["hits"] = info.hits;
  result["misses"] = info.misses;
  result["size"] = info.size;
  result["max_size"] = cached.words().capacity();
  result["nbytes"] = info.bytes;
  return result;
}

}  // namespace

void bind_token_encoder(py::module_& m) {
  m.def("distinct_tokens", &distinct_tokens, py::arg("char_ids"), py::arg("n_ids"),
        "char_ids (B, T, max_characters) int64, 0 where there is no token -> the distinct tokens' ids (n_distinct,\n"
        "max_characters) int32, index (B, T + 2) int32 into them (0 where nothing is read), mask (B, T + 2) bool.\n"
        "<S> precedes every row, </S> follows as many positions as the row has tokens.");
  m.def(
      "encoder_saved_size",
      [](int64_t n_filters, int64_t n_highways) {
        return TokenEncoder::saved_planes(n_highways) * TokenEncoder::saved_stride(n_filters);
      },
      py::arg("n_filters"), py::arg("n_highways"),
      "Floats per distinct word that CachedTokenEncoder.encode_for_training saves for the backward pass.");
  using Class = CachedTokenEncoder;
  py::class_<Class, std::shared_ptr<Class>>(
      m, "CachedTokenEncoder", "Character CNN, highways and projection; it remembers word_cache_size words.")
      .def(py::init(&make_token_encoder), py::arg("char_embedding"), py::arg("convolutions"), py::arg("activation"),
           py::arg("highways"), py::arg("projection"), py::arg("max_characters"), py::arg("precision") = "float32",
           py::arg("word_cache_size") = 0, py::arg("num_threads") = 1)
      .def("encode", &encode, py::arg("char_ids"), py::arg("num_threads"),
           "char_ids (n, max_characters) int64 -> table (n_distinct, output_dim) float32, index (n,) int32:\n"
           "token i is table[index[i]]. The order of the table's rows is not fixed.")
      .def(
          "encode_for_training", &encode_for_training, py::arg("char_ids"), py::arg("table"), py::arg("saved"),
          py::arg("num_threads"),
          "As encode, into table (n, output_dim), of which the first n_distinct rows are written; no word is "
          "remembered.\n"
          "saved: at least saved_planes * n * saved_stride float32 zeros, whose beginning is filled as (saved_planes,\n"
          "n_distinct, saved_stride) with the activations for the backward pass. Returns n_distinct and index.")
      .def("table_gradients", &table_gradients, py::arg("char_ids"), py::arg("gradient"), py::arg("num_threads"),
           "char_ids (n, max_characters) distinct, gradient (n, n_filters) of the convolutions' maxima -> for each\n"
           "convolution the gradient of its table of embedded characters, (filter_width, n_ids, n_filters).")
      .def_property_readonly("saved_planes", [](const Class& c) { return c.encoder().saved_planes(); })
      .def_property_readonly("saved_stride", [](const Class& c) { return c.encoder().saved_stride(); })
      .def("weights", &encoder_weights, "The constructor's arguments; in float32 bit for bit, else as rounded.")
      .def(
          "clear_cache", [](const Class& c) { c.words().clear(); }, "Forgets all words and counts.")
      .def("cache_info", &cache_info, "hits, misses, size, max_size (words), nbytes.")
      .def_property_readonly("output_dim", [](const Class& c) { return c.encoder().output_dim(); })
      .def_property_readonly("max_characters", [](const Class& c) { return c.encoder().max_characters(); })
      .def_property_readonly("precision", [](const Class& c) { return name_of(c.encoder().precision()); })
      .def_property_readonly("precision_in_use", [](const Class& c) { return name_of(c.encoder().precision_in_use()); })
      .def_property_readonly("nbytes", [](const Class& c) { return c.encoder().bytes(); }, "Without the words.");
}

}  // namespace elmo_fast
