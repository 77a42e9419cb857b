"""Model files -> validated arrays. One module per file format, and the code that they share."""

from elmo_fast.weights.allennlp_format import (
    BiLmWeights,
    EncoderWeights,
    LstmWeights,
    WeightFile,
    open_weights,
    read_encoder_weights,
    read_lstm_weights,
    read_weights,
)
from elmo_fast.weights.options import Options, WeightsError, read_options
from elmo_fast.weights.weight_file import write_weight_file

__all__ = [
    "BiLmWeights",
    "EncoderWeights",
    "LstmWeights",
    "Options",
    "WeightFile",
    "WeightsError",
    "open_weights",
    "read_encoder_weights",
    "read_lstm_weights",
    "read_options",
    "read_weights",
    "write_weight_file",
]
