// The binding of the CUDA kernels. Pointers are integers, as returned by torch's data_ptr() and cuda_stream. It rejects
// addresses and sizes that no tensor could have; shapes, dtypes and devices are checked by the caller, who has the
// tensors.
#include "cuda/bind_cuda.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <vector>

#include "cuda/device.h"
#include "cuda/launch.h"

namespace elmo_fast {
namespace {

namespace py = pybind11;
using gpu::Storage;

constexpr size_t kVectorBytes = 16;  // alignment of the arrays that kernels read a vector at a time

enum class Address { kNeeded, kOptional };

void check_pointer(const char* name, uintptr_t value, size_t alignment, Address kind = Address::kNeeded) {
  if (kind == Address::kNeeded && !value) throw py::value_error(std::string(name) + ": expected an address, got 0");
  if (value % alignment)
    throw py::value_error(std::string(name) + ": expected an address aligned to " + std::to_string(alignment) +
                          " bytes");
}

void check_positive(const char* name, int64_t value) {
  if (value < 1) throw py::value_error(std::string(name) + ": expected at least 1, got " + std::to_string(value));
}

// An attribute that holds an address.
template <class Class, class T>
void pointer(Class& c, const char* name, T* Class::type::*member, size_t alignment = 4) {
  c.def_property(
      name, [member](const typename Class::type& p) { return reinterpret_cast<uintptr_t>(p.*member); },
      [=](typename Class::type& p, uintptr_t value) {
        check_pointer(name, value, alignment);
        p.*member = reinterpret_cast<T*>(value);
      });
}

// An attribute that holds one address for each direction.
template <class Class, class T>
void pointers(Class& c, const char* name, T* (Class::type::*member)[2], size_t alignment = 4,
              Address kind = Address::kNeeded) {
  c.def_property(
      name,
      [member](const typename Class::type& p) {
        return py::make_tuple(reinterpret_cast<uintptr_t>((p.*member)[0]), reinterpret_cast<uintptr_t>((p.*member)[1]));
      },
      [=](typename Class::type& p, const std::pair<uintptr_t, uintptr_t>& values) {
        check_pointer(name, values.first, alignment, kind);
        check_pointer(name, values.second, alignment, kind);
        (p.*member)[0] = reinterpret_cast<T*>(values.first);
        (p.*member)[1] = reinterpret_cast<T*>(values.second);
      });
}

template <class Class, class T>
void size(Class& c, const char* name, T Class::type::*member) {
  c.def_property(
      name, [member](const typename Class::type& p) { return p.*member; },
      [=](typename Class::type& p, T value) {
        check_positive(name, value);
        p.*member = value;
      });
}

void check_layer(const gpu::LstmLayerParams& p) {
  if (!p.out || !p.h || !p.c || !p.m || !p.lengths || !p.rows || !p.xw[0] || !p.xw[1] || !p.state_weights[0] ||
      !p.state_weights[1] || !p.projection_weights[0] || !p.projection_weights[1])
    throw py::value_error("layer: an address has not been set");
  check_positive("n_rows", p.n_rows);
  check_positive("projection_dim", p.projection_dim);
  check_positive("cell_size", p.cell_size);
}

void check_steps(const std::vector<int32_t>& first_of_step, int first_step, int last_step, int n_rows) {
  if (first_step < 0 || first_step > last_step || first_of_step.size() < static_cast<size_t>(last_step) + 1)
    throw py::value_error("first_of_step: expected " + std::to_string(last_step + 1) + " numbers, got " +
                          std::to_string(first_of_step.size()));
  for (int i = first_step; i < last_step; ++i) {
    const int n = first_of_step[static_cast<size_t>(i) + 1] - first_of_step[static_cast<size_t>(i)];
    if (n < 1 || n > n_rows)
      throw py::value_error("first_of_step: expected 1 to " + std::to_string(n_rows) + " rows at step " +
                            std::to_string(i) + ", got " + std::to_string(n));
  }
}

void* stream_of(uintptr_t stream) { return reinterpret_cast<void*>(stream); }

void char_cnn(int device, Storage storage, gpu::CharCnnParams p, const std::vector<int>& widths,
              const std::vector<int>& n_filters, uintptr_t stream) {
  if (widths.empty() || widths.size() != n_filters.size() || widths.size() > gpu::kMostConvolutions)
    throw py::value_error("widths: expected 1 to " + std::to_string(gpu::kMostConvolutions) +
                          ", and as many n_filters, got " + std::to_string(widths.size()) + " and " +
                          std::to_string(n_filters.size()));
  p.n_convolutions = static_cast<int>(widths.size());
  p.n_filters = 0;
  int64_t offset = 0;
  for (size_t i = 0; i < widths.size(); ++i) {
    check_positive("n_filters", n_filters[i]);
    if (widths[i] < 1 || widths[i] > p.max_characters)
      throw py::value_error("widths: expected 1 to " + std::to_string(p.max_characters) + ", got " +
                            std::to_string(widths[i]));
    p.widths[i] = widths[i];
    p.first_filters[i] = p.n_filters;
    p.table_offsets[i] = offset;
    p.n_filters += n_filters[i];
    offset += static_cast<int64_t>(widths[i]) * p.n_ids * n_filters[i];
  }
  p.first_filters[widths.size()] = p.n_filters;
  const gpu::CurrentDevice current(device);
  gpu::launch_char_cnn(storage, p, stream_of(stream));
}

void scalar_mix(int device, Storage storage, gpu::ScalarMixParams p, const std::vector<uintptr_t>& layers,
                uintptr_t stream) {
  if (layers.empty() || layers.size() > gpu::kMostLayers)
    throw py::value_error("layers: expected 1 to " + std::to_string(gpu::kMostLayers) + ", got " +
                          std::to_string(layers.size()));
  p.n_layers = static_cast<int>(layers.size());
  for (size_t i = 0; i < layers.size(); ++i) {
    check_pointer("layers", layers[i], 2);
    p.layers[i] = reinterpret_cast<const void*>(layers[i]);
  }
  const gpu::CurrentDevice current(device);
  gpu::launch_scalar_mix(storage, p, stream_of(stream));
}

}  // namespace

void bind_cuda(py::module_& m) {
  // All classes are local to the module, because the tests load the emulated module beside it.
  py::register_local_exception<gpu::Error>(m, "CudaError", PyExc_RuntimeError);
  py::enum_<Storage>(m, "Storage", py::module_local())
      .value("float32", Storage::kFloat32)
      .value("float16", Storage::kFloat16)
      .value("bfloat16", Storage::kBfloat16);

  py::class_<gpu::DeviceProperties>(m, "DeviceProperties", py::module_local())
      .def(py::init([](const std::string& name, int capability, int multiprocessors, size_t shared_bytes, bool coop) {
             return gpu::DeviceProperties{name, capability, multiprocessors, shared_bytes, coop};
           }),
           py::arg("name"), py::arg("capability"), py::arg("multiprocessors"), py::arg("shared_bytes"),
           py::arg("cooperative"))
      .def_readonly("name", &gpu::DeviceProperties::name)
      .def_readonly("capability", &gpu::DeviceProperties::capability)
      .def_readonly("multiprocessors", &gpu::DeviceProperties::multiprocessors)
      .def_readonly("shared_bytes", &gpu::DeviceProperties::shared_bytes)
      .def_readonly("cooperative", &gpu::DeviceProperties::cooperative);
  m.def("device_count", &gpu::device_count, "CUDA devices; 0 where there is no driver.");
  m.def("device_properties", &gpu::device_properties, py::arg("device"));
  m.def(
      "check_device", [](int device) { const gpu::CurrentDevice current(device); }, py::arg("device"),
      "Raises CudaError, with CUDA's words, where a device is not there.");
  m.attr("OLDEST_CAPABILITY") = gpu::kOldestCapability;

  py::class_<gpu::PersistentPlan>(m, "PersistentPlan", py::module_local())
      .def_readonly("blocks", &gpu::PersistentPlan::blocks)
      .def_readonly("groups", &gpu::PersistentPlan::groups)
      .def_readonly("tiles", &gpu::PersistentPlan::tiles)
      .def_readonly("shared_bytes", &gpu::PersistentPlan::shared_bytes);
  m.attr("PERSISTENT_ROWS") = gpu::kPersistentRows;
  m.def("plan_persistent", &gpu::plan_persistent, py::arg("device"), py::arg("projection_dim"), py::arg("cell_size"),
        py::arg("weight_bytes"), py::arg("n_rows"));
  m.def(
      "prepare_persistent",
      [](int device, Storage storage, const gpu::PersistentPlan& plan) {
        const gpu::CurrentDevice current(device);
        gpu::prepare_persistent(storage, plan, gpu::device_properties(device));
      },
      py::arg("device"), py::arg("storage"), py::arg("plan"));

  py::class_<gpu::CharCnnParams> cnn(m, "CharCnnParams", py::module_local());
  cnn.def(py::init<>()).def_readwrite("is_tanh", &gpu::CharCnnParams::is_tanh);
  pointer(cnn, "char_ids", &gpu::CharCnnParams::char_ids);
  pointer(cnn, "tables", &gpu::CharCnnParams::tables, 2);
  pointer(cnn, "bias", &gpu::CharCnnParams::bias);
  pointer(cnn, "out", &gpu::CharCnnParams::out, 2);
  size(cnn, "n", &gpu::CharCnnParams::n);
  size(cnn, "max_characters", &gpu::CharCnnParams::max_characters);
  size(cnn, "n_ids", &gpu::CharCnnParams::n_ids);
  m.def("char_cnn", &char_cnn, py::arg("device"), py::arg("storage"), py::arg("params"), py::arg("widths"),
        py::arg("n_filters"), py::arg("stream"));

  m.def(
      "highway",
      [](int device, Storage storage, uintptr_t gates, uintptr_t x, uintptr_t out, int64_t n, int size,
         uintptr_t stream) {
        check_pointer("gates", gates, 2);
        check_pointer("x", x, 2);
        check_pointer("out", out, 2);
        check_positive("n", n);
        check_positive("size", size);
        const gpu::CurrentDevice current(device);
        gpu::launch_highway(storage,
                            {reinterpret_cast<const void*>(gates), reinterpret_cast<const void*>(x),
                             reinterpret_cast<void*>(out), n, size},
                            stream_of(stream));
      },
      py::arg("device"), py::arg("storage"), py::arg("gates"), py::arg("x"), py::arg("out"), py::arg("n"),
      py::arg("size"), py::arg("stream"));

  py::class_<gpu::ScalarMixParams> mix(m, "ScalarMixParams", py::module_local());
  mix.def(py::init<>());
  pointer(mix, "weights", &gpu::ScalarMixParams::weights);
  pointer(mix, "mask", &gpu::ScalarMixParams::mask, 1);
  pointer(mix, "out", &gpu::ScalarMixParams::out, 2);
  size(mix, "batch_size", &gpu::ScalarMixParams::batch_size);
  size(mix, "num_timesteps", &gpu::ScalarMixParams::num_timesteps);
  size(mix, "dim", &gpu::ScalarMixParams::dim);
  m.def("scalar_mix", &scalar_mix, py::arg("device"), py::arg("storage"), py::arg("params"), py::arg("layers"),
        py::arg("stream"));

  using Layer = gpu::LstmLayerParams;
  py::class_<Layer> layer(m, "LstmLayerParams", py::module_local());
  layer.def(py::init<>())
      .def_readwrite("cell_clip", &Layer::cell_clip)
      .def_readwrite("proj_clip", &Layer::proj_clip)
      .def_readwrite("first_token", &Layer::first_token);
  pointers(layer, "state_weights", &Layer::state_weights, kVectorBytes);
  pointers(layer, "projection_weights", &Layer::projection_weights, kVectorBytes);
  pointers(layer, "xw", &Layer::xw, 2);
  pointers(layer, "slots", &Layer::slots, 4, Address::kOptional);
  pointers(layer, "below", &Layer::below, 2, Address::kOptional);
  pointers(layer, "above", &Layer::above, 2, Address::kOptional);
  pointers(layer, "fragments", &Layer::fragments, kVectorBytes);
  pointer(layer, "stored_h", &Layer::stored_h, kVectorBytes);
  pointer(layer, "partials", &Layer::partials, kVectorBytes);
  pointer(layer, "n_steps", &Layer::n_steps);
  pointer(layer, "out", &Layer::out, 2);
  pointer(layer, "lengths", &Layer::lengths);
  pointer(layer, "rows", &Layer::rows);
  pointer(layer, "h", &Layer::h, kVectorBytes);
  pointer(layer, "c", &Layer::c);
  pointer(layer, "m", &Layer::m, kVectorBytes);
  size(layer, "n_rows", &Layer::n_rows);
  size(layer, "num_timesteps", &Layer::num_timesteps);
  size(layer, "projection_dim", &Layer::projection_dim);
  size(layer, "cell_size", &Layer::cell_size);
  m.def(
      "lstm_steps",
      [](int device, Storage storage, const Layer& p, const std::vector<int32_t>& first_of_step, int first_step,
         int last_step, uintptr_t stream) {
        check_layer(p);
        check_steps(first_of_step, first_step, last_step, p.n_rows);
        py::gil_scoped_release release;
        const gpu::CurrentDevice current(device);
        gpu::launch_lstm_steps(storage, p, first_of_step.data(), first_step, last_step, stream_of(stream));
      },
      py::arg("device"), py::arg("storage"), py::arg("layer"), py::arg("first_of_step"), py::arg("first_step"),
      py::arg("last_step"), py::arg("stream"));
  for (const bool cells : {true, false})
    m.def(
        cells ? "lstm_product_cells" : "lstm_product_outputs",
        [cells](int device, Storage storage, const Layer& p, uintptr_t values, uintptr_t out, bool in_float, int step,
                int n_active, int64_t first_token, uintptr_t stream) {
          check_layer(p);
          check_pointer("values", values, 2);
          check_pointer("m", out, 2, cells ? Address::kNeeded : Address::kOptional);
          if (!p.stored_h) throw py::value_error("layer: stored_h has not been set");
          if (n_active < 1 || n_active > p.n_rows)
            throw py::value_error("n_active: expected 1 to " + std::to_string(p.n_rows) + " rows, got " +
                                  std::to_string(n_active));
          const gpu::LstmProduct product{reinterpret_cast<const void*>(values),
                                         reinterpret_cast<void*>(out),
                                         in_float,
                                         step,
                                         n_active,
                                         first_token};
          py::gil_scoped_release release;
          const gpu::CurrentDevice current(device);
          (cells ? gpu::launch_lstm_product_cells : gpu::launch_lstm_product_outputs)(storage, p, product,
                                                                                      stream_of(stream));
        },
        py::arg("device"), py::arg("storage"), py::arg("layer"), py::arg("values"), py::arg("m"), py::arg("in_float"),
        py::arg("step"), py::arg("n_active"), py::arg("first_token"), py::arg("stream"));
  m.def(
      "lstm_persistent",
      [](int device, Storage storage, const Layer& p, const gpu::PersistentPlan& plan, uintptr_t first_of_step,
         int first_step, int last_step, uintptr_t stream) {
        check_layer(p);
        if (plan.blocks < 1) throw py::value_error("plan: expected one with blocks, got 0");
        if (!p.fragments[0] || !p.fragments[1] || !p.stored_h || !p.partials)
          throw py::value_error("layer: an address of the persistent kernel has not been set");
        check_pointer("first_of_step", first_of_step, 4);
        py::gil_scoped_release release;
        const gpu::CurrentDevice current(device);
        gpu::launch_lstm_persistent(storage, p, plan, reinterpret_cast<const int32_t*>(first_of_step), first_step,
                                    last_step, stream_of(stream));
      },
      py::arg("device"), py::arg("storage"), py::arg("layer"), py::arg("plan"), py::arg("first_of_step"),
      py::arg("first_step"), py::arg("last_step"), py::arg("stream"));
}

}  // namespace elmo_fast
