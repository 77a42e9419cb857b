#include "model/lstm_layer.h"

namespace elmo_fast {

LstmLayer::LstmLayer(const LstmParams& p, int64_t input_size, int64_t projection_dim, int64_t cell_size,
                     Precision precision)
    : precision_(precision) {
  const ColumnOrder gates = interleaved_order(kGateUnits, cell_size);
  const Precision format = precision_in_use(precision);
  input = PackedMatrix(p.input_weight, input_size, gates, format);
  state = PackedMatrix(p.state_weight, projection_dim, gates, format);
  projection = PackedMatrix(p.projection, cell_size, plain_order(projection_dim), format);
  bias = pack_vector(p.bias, gates);
}

LstmLayer::Weights LstmLayer::weights() const {
  const int64_t gates = 4 * cell_size();
  const ColumnOrder order = interleaved_order(kGateUnits, cell_size());
  const auto floats = [](int64_t n) { return std::vector<float>(static_cast<size_t>(n)); };
  Weights w{floats(gates * input_size()), floats(gates * projection_dim()), floats(gates),
            floats(projection_dim() * cell_size())};
  input.unpack(order, w.input_weight.data());
  state.unpack(order, w.state_weight.data());
  unpack_vector(bias, order, w.bias.data());
  projection.unpack(plain_order(projection_dim()), w.projection.data());
  return w;
}

}  // namespace elmo_fast
