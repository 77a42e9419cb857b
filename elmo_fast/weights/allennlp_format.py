"""HDF5 weights in AllenNLP's and bilm-tf's layout -> validated arrays in this package's layout.

This is the only module that knows HDF5 names and TensorFlow's gate order. All names, shapes and types are checked
before anything is read; the parts are then read one by one, and their values are checked as they are read.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from elmo_fast.native import get_num_threads
from elmo_fast.parallel import run_tasks
from elmo_fast.weights.hdf5 import Dataset, Hdf5File, empty_matrix, open_hdf5
from elmo_fast.weights.options import N_CHARACTERS, Options, WeightsError


@dataclass(frozen=True)
class LstmWeights:
    """One direction of one LSTM layer, gates in the order i, f, g, o; float32.

    Attributes:
        input_weight: (4 * cell_size, input_size).
        state_weight: (4 * cell_size, projection_dim).
        bias: (4 * cell_size,), TensorFlow's implicit forget bias of 1 included.
        projection: (projection_dim, cell_size).
    """

    input_weight: np.ndarray
    state_weight: np.ndarray
    bias: np.ndarray
    projection: np.ndarray

    def as_tuple(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        return self.input_weight, self.state_weight, self.bias, self.projection


@dataclass(frozen=True)
class EncoderWeights:
    """The context-insensitive token encoder; float32.

    Attributes:
        char_embedding: (262, dim); row 0, "no token here", is zero.
        convolutions: for each filter width, weight (n, dim, width) and bias (n,).
        highways: weight (2 * n_filters, n_filters) and bias (2 * n_filters,), rows [transform; carry], for
            `x = g * x + (1 - g) * relu(transform)` with `g = sigmoid(carry)`: the carry rows are negated on reading.
        projection: weight (projection_dim, n_filters) and bias (projection_dim,), or None.
    """

    char_embedding: np.ndarray
    convolutions: tuple[tuple[np.ndarray, np.ndarray], ...]
    highways: tuple[tuple[np.ndarray, np.ndarray], ...]
    projection: tuple[np.ndarray, np.ndarray] | None


@dataclass(frozen=True)
class BiLmWeights(EncoderWeights):
    """A whole biLM: the encoder and, for each layer, (forward, backward) `LstmWeights`."""

    layers: tuple[tuple[LstmWeights, LstmWeights], ...]


class WeightFile:
    """An open file that holds a whole biLM of the right sizes. Its parts are read separately, on request.

    Threads may read parts at the same time: they take turns at reading, and check and transpose in parallel.

    Attributes:
        options: what the file holds.
    """

    def __init__(self, file: Hdf5File, options: Options) -> None:
        self.options = options
        self._encoder = _EncoderDatasets(file, options)
        self._layers = _lstm_datasets(
            file, options.projection_dim, options.projection_dim, options.cell_size, options.n_layers
        )

    def encoder(self) -> EncoderWeights:
        """Reads the token encoder.

        Raises:
            WeightsError: the file is damaged, or holds NaN or infinity; the message names the dataset.
        """
        return self._encoder.read()

    def directions(self) -> list[Callable[[], LstmWeights]]:
        """Returns the functions that read layer 0 forward, layer 0 backward, layer 1 forward and so on."""
        return [datasets.read for pair in self._layers for datasets in pair]


@contextlib.contextmanager
def open_weights(path: str | os.PathLike[str], options: Options) -> Iterator[WeightFile]:
    """Opens an HDF5 file and checks that it holds a biLM, all but the values.

    Args:
        path: HDF5 file.
        options: what the options file says the HDF5 file holds.
    Raises:
        FileNotFoundError: no such file.
        WeightsError: the file does not hold what `options` says; the message names the dataset.
    """
    with open_hdf5(path) as file:
        yield WeightFile(file, options)


def read_weights(path: str | os.PathLike[str], options: Options) -> BiLmWeights:
    """Reads a whole biLM; arguments and errors as `open_weights` and `WeightFile`."""
    with open_weights(path, options) as file:
        parts: list[Any] = run_tasks([file.encoder, *file.directions()], get_num_threads())
    encoder, directions = parts[0], parts[1:]
    layers = tuple(zip(directions[0::2], directions[1::2], strict=True))
    return BiLmWeights(encoder.char_embedding, encoder.convolutions, encoder.highways, encoder.projection, layers)


def read_encoder_weights(path: str | os.PathLike[str], options: Options) -> EncoderWeights:
    """Reads only the token encoder; arguments and errors as `read_weights`."""
    with open_hdf5(path) as file:
        return _EncoderDatasets(file, options).read()


def read_lstm_weights(
    path: str | os.PathLike[str], *, input_size: int, projection_dim: int, cell_size: int, n_layers: int
) -> tuple[tuple[LstmWeights, LstmWeights], ...]:
    """Reads only the LSTM layers, (forward, backward) each; errors as `read_weights`."""
    with open_hdf5(path) as file:
        layers = _lstm_datasets(file, input_size, projection_dim, cell_size, n_layers)
        return tuple((forward.read(), backward.read()) for forward, backward in layers)


class _EncoderDatasets:
    """The checked datasets of a token encoder."""

    def __init__(self, file: Hdf5File, options: Options) -> None:
        dim, n_filters = options.char_embedding_dim, options.n_filters
        self._char_embedding = file.dataset("char_embed", N_CHARACTERS, dim)
        self._convolutions = [
            (file.dataset(f"CNN/W_cnn_{i}", 1, width, dim, n), file.dataset(f"CNN/b_cnn_{i}", n))
            for i, (width, n) in enumerate(options.filters)
        ]
        self._highways = [
            {
                name: file.dataset(f"CNN_high_{k}/{name}", *([n_filters] * (2 if name[0] == "W" else 1)))
                for name in ("W_transform", "W_carry", "b_transform", "b_carry")
            }
            for k in range(options.n_highway)
        ]
        if f"CNN_high_{options.n_highway}" in file:
            # Without its last highway layer a model would give vectors of the right shape that make no sense.
            raise WeightsError(
                f"{file.path}: CNN_high_{options.n_highway}: present, but the options say n_highway = "
                f"{options.n_highway}"
            )
        self._projection: tuple[Dataset, Dataset] | None = None
        # bilm-tf writes no projection if it would be square.
        if n_filters != options.projection_dim or "CNN_proj" in file:
            weight = file.dataset("CNN_proj/W_proj", n_filters, options.projection_dim)
            self._projection = weight, file.dataset("CNN_proj/b_proj", options.projection_dim)

    def read(self) -> EncoderWeights:
        return EncoderWeights(
            char_embedding=np.pad(self._char_embedding.read(), ((1, 0), (0, 0))),
            convolutions=tuple(_read_convolution(*pair) for pair in self._convolutions),
            highways=tuple(_read_highway(**datasets) for datasets in self._highways),
            projection=None if self._projection is None else _read_projection(*self._projection),
        )


def _read_convolution(weight: Dataset, bias: Dataset) -> tuple[np.ndarray, np.ndarray]:
    return np.ascontiguousarray(weight.read()[0].transpose(2, 1, 0)), bias.read()


def _read_highway(
    W_transform: Dataset, W_carry: Dataset, b_transform: Dataset, b_carry: Dataset
) -> tuple[np.ndarray, np.ndarray]:
    # TensorFlow's carry gate multiplies the transformed part, ours the part carried over: sigmoid(-x) = 1 - sigmoid(x).
    bias = np.concatenate([b_transform.read(), -b_carry.read()])
    size = len(bias) // 2
    weight = empty_matrix(2 * size, size)
    W_transform.read_transposed(weight[:size])
    W_carry.read_transposed(weight[size:])
    np.negative(weight[size:], out=weight[size:])
    return weight, bias


def _read_projection(weight: Dataset, bias: Dataset) -> tuple[np.ndarray, np.ndarray]:
    return _transposed(weight), bias.read()


def _transposed(dataset: Dataset) -> np.ndarray:
    out = empty_matrix(*dataset.shape[::-1])
    dataset.read_transposed(out)
    return out


# TensorFlow stacks the gates as i, g, f, o; these are the positions of i, f, g, o in its columns.
_GATES = (0, 2, 1, 3)


@dataclass(frozen=True)
class _LstmDatasets:
    """The checked datasets of one direction of one layer."""

    weight: Dataset
    bias: Dataset
    projection: Dataset
    input_size: int

    def read(self) -> LstmWeights:
        bias = np.concatenate([np.split(self.bias.read(), 4)[gate] for gate in _GATES])
        bias[len(bias) // 4 : len(bias) // 2] += 1.0  # TensorFlow adds it at run time, so it is not in the file
        rows, gates = self.weight.shape
        input_weight = empty_matrix(gates, self.input_size)
        state_weight = empty_matrix(gates, rows - self.input_size)
        self.weight.read_transposed(input_weight, state_weight, column_blocks=_GATES)
        return LstmWeights(input_weight, state_weight, bias, _transposed(self.projection))


def _lstm_datasets(
    file: Hdf5File, input_size: int, projection_dim: int, cell_size: int, n_layers: int
) -> list[tuple[_LstmDatasets, _LstmDatasets]]:
    # A file may hold more layers than requested, because layer k does not depend on those above it.
    def datasets(layer: int, direction: int) -> _LstmDatasets:
        name = f"RNN_{direction}/RNN/MultiRNNCell/Cell{layer}/LSTMCell"
        depth = input_size if layer == 0 else projection_dim
        return _LstmDatasets(
            weight=file.dataset(f"{name}/W_0", depth + projection_dim, 4 * cell_size),
            bias=file.dataset(f"{name}/B", 4 * cell_size),
            projection=file.dataset(f"{name}/W_P_0", cell_size, projection_dim),
            input_size=depth,
        )

    return [(datasets(layer, 0), datasets(layer, 1)) for layer in range(n_layers)]
