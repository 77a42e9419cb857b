// Shared by the bindings: checked access to NumPy arrays. Errors are ValueError and name the argument.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <utility>
#include <vector>

#include "model/bilstm.h"

namespace elmo_fast {

namespace py = pybind11;
using Floats = py::array_t<float, py::array::c_style>;
using Shape = std::vector<int64_t>;

inline std::string to_text(const Shape& shape) {
  std::string text = "(";
  for (size_t i = 0; i < shape.size(); ++i)
    text += (i ? ", " : "") + (shape[i] < 0 ? std::string("any") : std::to_string(shape[i]));
  return text + ")";
}

// Returns the data of a C-contiguous array of this dtype and shape (-1: any size); otherwise throws ValueError with the
// argument's name.
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

// Returns the items of a Python sequence of length n, and keeps them alive in `keep`: a sequence may create them on
// each access.
inline std::vector<py::object> items_of(const py::handle& object, const std::string& name, size_t n,
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

inline int64_t size_of(const py::handle& object, const std::string& name, int axis) {
  if (!py::isinstance<py::array>(object) || py::reinterpret_borrow<py::array>(object).ndim() <= axis)
    throw py::value_error(name + ": expected a NumPy array with more than " + std::to_string(axis) + " axes");
  return py::reinterpret_borrow<py::array>(object).shape(axis);
}

inline Floats to_array(const std::vector<float>& values, const Shape& shape) {
  return Floats(std::vector<py::ssize_t>(shape.begin(), shape.end()), values.data());
}

inline int checked_threads(int num_threads) {
  if (num_threads < 1) throw py::value_error("num_threads: expected at least 1, got " + std::to_string(num_threads));
  return num_threads;
}

inline float checked_clip(double clip, const char* name) {
  const auto value = static_cast<float>(clip);
  // A bound that is too small for a float32 must not become 0, which means no clipping.
  if (!(clip >= 0) || (clip > 0 && value == 0.0f))
    throw py::value_error(std::string(name) + ": expected 0 or a positive float32, got " + std::to_string(clip));
  return value;
}

// Returns a copy of sentence lengths, each checked to be within [0, num_timesteps]. Copied, because another thread
// could write into the array after the check and cause reads out of bounds.
inline std::vector<int64_t> checked_lengths(const py::handle& object, int64_t batch_size, int64_t num_timesteps) {
  const auto* given = data_of<int64_t>(object, "lengths", {batch_size});
  std::vector<int64_t> lengths(given, given + batch_size);
  for (int64_t i = 0; i < batch_size; ++i)
    if (const int64_t n = lengths[static_cast<size_t>(i)]; n < 0 || n > num_timesteps)
      throw py::value_error("lengths[" + std::to_string(i) + "]: expected 0 to " + std::to_string(num_timesteps) +
                            ", got " + std::to_string(n));
  return lengths;
}

// Returns a copy of character ids of this shape (-1: any size), for the model to check. Copied, because another thread
// could write into the array after the check and cause reads out of bounds.
inline std::vector<int64_t> copied_char_ids(const py::handle& object, const Shape& expected) {
  const auto* given = data_of<int64_t>(object, "char_ids", expected);
  return {given, given + py::reinterpret_borrow<py::array>(object).size()};
}

// Returns a copy of an index into a table of n_rows rows, checked where t < lengths[b].
inline std::vector<int32_t> checked_index(const py::handle& object, const std::vector<int64_t>& lengths,
                                          int64_t num_timesteps, int64_t n_rows) {
  const auto batch_size = static_cast<int64_t>(lengths.size());
  const int32_t* given = data_of<int32_t>(object, "index", {batch_size, num_timesteps});
  std::vector<int32_t> index(given, given + batch_size * num_timesteps);
  for (int64_t b = 0; b < batch_size; ++b)
    for (int64_t t = 0; t < lengths[static_cast<size_t>(b)]; ++t)
      if (const int32_t row = index[static_cast<size_t>(b * num_timesteps + t)]; row < 0 || row >= n_rows)
        throw py::value_error("index[" + std::to_string(b) + ", " + std::to_string(t) + "]: expected 0 to " +
                              std::to_string(n_rows - 1) + ", got " + std::to_string(row));
  return index;
}

// Returns an initial state, h (L, B, 2P) and c (L, B, 2C), or nulls if both are None.
inline std::pair<const float*, const float*> initial_state(const BiLstm& lstm, const py::handle& h, const py::handle& c,
                                                           int64_t batch_size) {
  if (h.is_none() != c.is_none()) throw py::value_error("h, c: expected both or neither");
  if (h.is_none()) return {nullptr, nullptr};
  return {data_of<float>(h, "h", {lstm.num_layers(), batch_size, 2 * lstm.projection_dim()}),
          data_of<float>(c, "c", {lstm.num_layers(), batch_size, 2 * lstm.cell_size()})};
}

// Each adds its classes or functions to the module.
void bind_token_encoder(py::module_& m);
void bind_bilstm(py::module_& m);
void bind_bilm(py::module_& m);
void bind_lstm_backward(py::module_& m);
void bind_probe(py::module_& m);

}  // namespace elmo_fast
